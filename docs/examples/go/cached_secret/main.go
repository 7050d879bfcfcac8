// Use a secret through a cache, with OpenAPI Generator's client: cached_secret NAME.
//
// Each line of standard input uses the secret: "use", or "refused" after a failed login. With RECEIPTS_FILE, the service
// signs what it has delivered.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"example.com/secrets/client"
	"example.com/secrets/secretcache"
)

var (
	api      *client.APIClient
	receipts = os.Getenv("RECEIPTS_FILE")
)

// fetch returns the newest version. A batch, unlike a single fetch, says which version it is.
func fetch(name string) (secretcache.Secret, error) {
	var none secretcache.Secret
	ctx := context.WithValue(context.Background(), client.ContextAccessToken, os.Getenv("VAULT_TOKEN"))
	reference := client.NewVersionReference()
	reference.SetName(name)
	body := client.FetchBatch{Secrets: []client.VersionReference{*reference}}
	batch, reply, err := api.SecretsAPI.FetchSecrets(ctx).FetchBatch(body).Execute()
	if reply == nil {
		return none, &secretcache.UnavailableError{RetryAfter: time.Second}
	}
	if reply.StatusCode == http.StatusServiceUnavailable || reply.StatusCode == http.StatusTooManyRequests {
		seconds, err := strconv.Atoi(reply.Header.Get("Retry-After"))
		if err != nil {
			seconds = 1
		}
		return none, &secretcache.UnavailableError{RetryAfter: time.Duration(seconds) * time.Second}
	}
	if err != nil {
		return none, err
	}
	item := batch.Secrets[0]
	if item.Problem != nil {
		return none, fmt.Errorf("%s: %s", name, item.Problem.Code)
	}
	if receipts != "" {
		file, err := os.OpenFile(receipts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return none, err
		}
		defer file.Close()
		fmt.Fprintln(file, *batch.Receipts[0])
	}
	value, err := base64.StdEncoding.DecodeString(item.GetSecret())
	return secretcache.Secret{Value: value, Version: item.GetVersion()}, err
}

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Getenv("VAULT_URL")}}
	configuration.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	if receipts != "" {
		configuration.AddDefaultHeader("X-Receipt", "1")
	}
	api = client.NewAPIClient(configuration)

	maxAge, err := strconv.Atoi(os.Getenv("MAX_AGE_SECONDS"))
	if err != nil {
		maxAge = 300
	}
	cache := &secretcache.Cache{Fetch: fetch, MaxAge: time.Duration(maxAge) * time.Second}
	name := os.Args[1]
	var last *secretcache.Secret
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var refused *secretcache.Secret
		if lines.Text() == "refused" {
			refused = last
		}
		secret, err := cache.Get(name, refused)
		if err != nil {
			log.Fatal(err)
		}
		last = &secret
		// A program would log in with secret.Value here.
		fmt.Println("using version", secret.Version)
	}
}
