package kms

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"sealift/internal/hsm"
)

// maxURI is more than any URI of a key has.
const maxURI = 1024

// keyID is what the service takes: the id or ARN of a key, or an alias of one. The
// first group is the region of an ARN.
var keyID = regexp.MustCompile(`^(?:arn:aws[a-z-]{0,20}:kms:([a-z0-9-]{1,40}):[0-9]{12}:(?:key/[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,250})|[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,250})$`)

var regionName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// name is a key as a URI names it.
type name struct {
	id     string
	region string // "" is that of the environment
}

// parse reads awskms:///ID or awskms://ID, with ?region=NAME or without. Anything
// else is refused: an address of a server above all. Errors wrap hsm.ErrURI.
func parse(text string) (name, error) {
	fail := func(why string) (name, error) {
		return name{}, fmt.Errorf("reading a URI of a key in a key service, such as awskms:///alias/NAME?region=NAME: %s: %w", why, hsm.ErrURI)
	}
	text = strings.TrimSpace(text)
	if len(text) > maxURI {
		return fail("it is too long")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "awskms" || u.Opaque != "" || u.User != nil || u.Fragment != "" || u.RawPath != "" {
		return fail("it is none")
	}
	n := name{id: strings.TrimPrefix(u.Host+u.Path, "/")}
	found := keyID.FindStringSubmatch(n.id)
	if found == nil {
		return fail("it names no key")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("its query cannot be read")
	}
	for attribute, values := range query {
		if attribute != "region" || len(values) != 1 || !regionName.MatchString(values[0]) {
			return fail("it may have a region and nothing else; where the service is the environment says, in AWS_ENDPOINT_URL_KMS")
		}
		n.region = values[0]
	}
	if of := found[1]; of != "" {
		if n.region != "" && n.region != of {
			return fail("it names two regions")
		}
		n.region = of
	}
	return n, nil
}
