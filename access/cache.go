package access

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sealift/internal/web"
)

const (
	cacheLife    = time.Second // how late a revocation may reach another replica
	cacheEntries = 10_000
)

// cache remembers callers by the hash of their text, so that a push of
// thousands of objects does not ask the database each time.
type cache struct {
	mu      sync.Mutex
	entries map[string]cached
}

type cached struct {
	who   web.Caller
	until time.Time
}

func newCache() *cache { return &cache{entries: map[string]cached{}} }

func (c *cache) get(key string, now time.Time) (web.Caller, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !now.Before(e.until) {
		return web.Caller{}, false
	}
	return own(e.who), true
}

func (c *cache) put(key string, who web.Caller, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= cacheEntries {
		clear(c.entries)
	}
	c.entries[key] = cached{own(who), now.Add(cacheLife)}
}

// own is who with lists that nobody else has.
func own(who web.Caller) web.Caller {
	who.Permissions, who.Confined, who.ConfinedPush = slices.Clone(who.Permissions), slices.Clone(who.Confined), slices.Clone(who.ConfinedPush)
	return who
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

// An address may fail this often at once, and then twice a second: far more
// than honest clients behind one address do. Secrets cannot be guessed
// anyway; this tells programs that run wild to stop.
const (
	failBurst     = 100
	failPerSecond = 2
	failEntries   = 10_000
)

// failures counts failed attempts by address.
type failures struct {
	mu    sync.Mutex
	limit map[string]*rate.Limiter
}

func newFailures() *failures { return &failures{limit: map[string]*rate.Limiter{}} }

// allow reports whether remote has failures left.
func (f *failures) allow(remote string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.limit[network(remote)]
	return l == nil || l.Tokens() >= 1
}

func (f *failures) count(remote string) {
	key := network(remote)
	if key == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.limit[key]
	if l == nil {
		if len(f.limit) >= failEntries {
			clear(f.limit)
		}
		l = rate.NewLimiter(failPerSecond, failBurst)
		f.limit[key] = l
	}
	l.Allow()
}

// network is what one client can hold: an IPv4 address, or an IPv6 /64.
func network(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}
