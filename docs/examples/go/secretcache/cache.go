// Package secretcache is a cache of secrets, for any client of the service.
package secretcache

import (
	"bytes"
	"errors"
	"log"
	"sync"
	"time"
)

const (
	attempts = 5
	maxWait  = 30 * time.Second
)

// Secret is a value and its version.
type Secret struct {
	Value   []byte
	Version int32
}

// UnavailableError says that the service cannot reply now, and when to ask again.
type UnavailableError struct{ RetryAfter time.Duration }

func (*UnavailableError) Error() string { return "the service is unavailable" }

type entry struct {
	secret  Secret
	expires time.Time
}

// Cache calls Fetch once in MaxAge for each name, and keeps the last value while the service is unavailable.
//
// Fetch returns an UnavailableError, or another error if the caller may not have the secret.
type Cache struct {
	Fetch  func(name string) (Secret, error)
	MaxAge time.Duration

	// One goroutine asks, and the others wait for its result.
	mutex   sync.Mutex
	cached  map[string]entry
	retryAt time.Time
}

// Get returns the secret. After a login failed with a secret, pass it as refused to get a newer one, if any.
func (c *Cache) Get(name string, refused *Secret) (Secret, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cached == nil {
		c.cached = map[string]entry{}
	}
	now := time.Now()
	found, isCached := c.cached[name]
	isRefused := refused != nil && refused.Version == found.secret.Version && bytes.Equal(refused.Value, found.secret.Value)
	if isCached && (now.Before(found.expires) && !isRefused || now.Before(c.retryAt)) {
		return found.secret, nil
	}
	limit := attempts
	if isCached {
		limit = 1
	}
	secret, err := c.read(name, limit)
	var unavailable *UnavailableError
	if isCached && errors.As(err, &unavailable) {
		c.retryAt = time.Now().Add(unavailable.RetryAfter)
		log.Printf("unavailable: keeping version %d of %s", found.secret.Version, name)
		return found.secret, nil
	}
	if err != nil {
		// For example, the secret was deleted, or the token was revoked.
		delete(c.cached, name)
		return Secret{}, err
	}
	c.cached[name] = entry{secret, time.Now().Add(c.MaxAge)}
	return secret, nil
}

func (c *Cache) read(name string, limit int) (Secret, error) {
	for attempt := 1; ; attempt++ {
		secret, err := c.Fetch(name)
		var unavailable *UnavailableError
		if !errors.As(err, &unavailable) || attempt == limit || unavailable.RetryAfter > maxWait {
			return secret, err
		}
		time.Sleep(unavailable.RetryAfter)
	}
}
