// Store, read and list secrets, and create a token, with OpenAPI Generator's Go client.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"example.com/secrets/client"
)

// require returns the reply of a call that must succeed.
func require[Reply any](reply *Reply, err error) *Reply {
	if err != nil {
		log.Fatal(err)
	}
	return reply
}

func reportRefusal(err error) {
	var refusal *client.GenericOpenAPIError
	if !errors.As(err, &refusal) {
		log.Fatal("not refused: ", err)
	}
	problem, ok := refusal.Model().(client.Problem)
	if !ok {
		log.Fatal(err)
	}
	fmt.Println("refused", problem.Status, problem.Code)
}

func named(name string) client.VersionReference {
	reference := client.NewVersionReference()
	reference.SetName(name)
	return *reference
}

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Getenv("VAULT_URL")}}
	api := client.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), client.ContextAccessToken, os.Getenv("VAULT_TOKEN"))

	folder := os.Getenv("FOLDER")

	secret := client.NewNewSecret("b2xk")
	secret.SetName(folder + "/password")
	created, _, err := api.SecretsAPI.CreateSecret(ctx).NewSecret(*secret).Execute()
	id := require(created, err).SecretId
	reference := client.NewVersionReference()
	reference.SetSecretId(id)
	fetched, _, err := api.SecretsAPI.FetchSecret(ctx).VersionReference(*reference).Execute()
	fmt.Println("fetched", require(fetched, err).Secret)

	update := client.NewNewVersion("bmV3")
	update.SetName(folder + "/password")
	update.SetExpectedVersion(1)
	updated, _, err := api.SecretsAPI.UpdateSecret(ctx).NewVersion(*update).Execute()
	fmt.Println("updated to version", require(updated, err).Version)
	_, _, err = api.SecretsAPI.UpdateSecret(ctx).NewVersion(*update).Execute()
	reportRefusal(err)

	query := client.NewListQuery()
	query.SetNamePrefix(folder + "/")
	page, _, err := api.SecretsAPI.ListSecrets(ctx).ListQuery(*query).Execute()
	for _, listed := range require(page, err).Secrets {
		fmt.Println("listed", listed.GetName())
	}

	prefix := client.NewFetchBatch()
	prefix.SetNamePrefix(folder + "/")
	batch, _, err := api.SecretsAPI.FetchSecrets(ctx).FetchBatch(*prefix).Execute()
	for _, item := range require(batch, err).Secrets {
		fmt.Println("fetched together", item.GetSecret())
	}

	wanted := client.NewNewToken(folder)
	wanted.SetRole("reader")
	token, _, err := api.TokensAPI.CreateToken(ctx).NewToken(*wanted).Execute()
	fmt.Println("created a token", require(token, err).Token[:4])

	_, _, err = api.SecretsAPI.FetchSecret(ctx).VersionReference(named(folder + "/missing")).Execute()
	reportRefusal(err)
}
