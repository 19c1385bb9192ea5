package main

import (
	"errors"
	"net/http"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// runDelegatedInit prints metadata to begin with.
func runDelegatedInit(c *call) error {
	_, err := c.stdout.Write(home.NewDelegated(c.now().Add(home.RootLife)).Pretty())
	return err
}

// editDelegated changes the file of --input, in place or to stdout.
func (c *call) editDelegated(change func(*home.Delegated) error) error {
	d, err := c.readDelegated()
	if err != nil {
		return err
	}
	if err := change(&d); err != nil {
		return err
	}
	if c.has("inplace") {
		return home.WriteText(c.get("input"), d.Pretty())
	}
	_, err = c.stdout.Write(d.Pretty())
	return err
}

func (c *call) readDelegated() (home.Delegated, error) {
	d, err := home.ReadDelegated(c.get("input"))
	if errors.Is(err, home.ErrSigned) {
		err = explained("%w; `delegations pull --unsigned` gives what to edit next", err)
	}
	return d, err
}

func runDelegatedAdd(c *call) error {
	t, err := c.describedTarget()
	if err != nil {
		return err
	}
	return c.editDelegated(func(d *home.Delegated) error { return d.Add(t, c.now()) })
}

func runDelegatedRemove(c *call) error {
	return c.editDelegated(func(d *home.Delegated) error { return d.Remove(c.get("filename")) })
}

func runDelegatedSign(c *call) error {
	d, err := c.readDelegated()
	if err != nil {
		return err
	}
	expires, err := c.expires()
	if err != nil {
		return err
	}
	if !expires.IsZero() {
		d.Expire(expires)
	}
	signed, err := d.Sign(c.ctx, c.userKeys(), c.list("key-name"), c.now())
	if err != nil {
		return err
	}
	if c.has("inplace") {
		return home.WriteSigned(c.get("input"), signed)
	}
	c.warn("only the Uptane flavour is printed; --inplace keeps the one for clients of TUF 1.0 as well")
	text, err := home.Pretty(signed.Uptane)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(text)
	return err
}

// runDelegatedPush sends signed metadata of a role.
func runDelegatedPush(c *call) error {
	role, err := c.delegation()
	if err != nil {
		return err
	}
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	signed, err := home.ReadSigned(c.get("input"))
	if err != nil {
		return explained("this cannot be pushed, `delegations sign` makes what can: %w", err)
	}
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	if err := r.StageTwin(c.ctx, role, signed.TUF); err != nil {
		return err
	}
	_, err = r.Must(c.ctx, http.MethodPut, "delegations/"+role.Filename(0), signed.Uptane, nil)
	switch {
	case reposerver.Refused(err, "delegations_not_defined"):
		return explained("%w\n`targets delegations add` lets %s sign, once those targets are signed and pushed", err, role)
	case reposerver.Refused(err, "invalid_version_bump"):
		return explained("%w\n`delegations pull --unsigned` gives what comes after the server's", err)
	case err != nil:
		return err
	}
	c.say("Pushed %s version %d", role, signed.Version)
	return nil
}

// runDelegatedPull fetches metadata of a role and verifies them by the server's
// targets, and these by its root.
func runDelegatedPull(c *call) error {
	role, err := c.delegation()
	if err != nil {
		return err
	}
	h, r, err := c.connect()
	if err != nil {
		return err
	}
	raw, _, err := c.serverTargets(h, r, true)
	if err != nil {
		return err
	}
	targets, err := h.OpenTargets(raw)
	if err != nil {
		return untrusted(err)
	}
	doc, err := c.pullDelegated(r, &targets.Payload, role)
	if err != nil {
		return err
	}
	text, err := home.Pretty(doc.Raw)
	if c.has("unsigned") {
		var next home.Delegated
		next, err = home.Next(doc)
		text = next.Pretty()
	}
	if err != nil {
		return err
	}
	if out := c.get("output"); out != "" {
		c.say("Pulled %s version %d", role, doc.Payload.Version)
		return home.WriteText(out, text)
	}
	_, err = c.stdout.Write(text)
	return err
}

// maxDelegations bounds how many roles are asked on the way to one.
const maxDelegations = 1024

// pullDelegated fetches and verifies metadata of a role that targets delegate
// to, themselves or by way of other roles.
func (c *call) pullDelegated(r *reposerver.Server, targets *metadata.TargetsType, role uptane.Role) (uptane.Document[metadata.TargetsType], error) {
	parents := []*metadata.TargetsType{targets}
	var asked []uptane.Role
	for len(parents) > 0 && len(asked) < maxDelegations {
		doc, err := c.fetchDelegated(r, parents[0], role)
		if !errors.Is(err, home.ErrNotFound) {
			return doc, err
		}
		if d := parents[0].Delegations; d != nil {
			for _, child := range d.Roles {
				name := uptane.Role(child.Name)
				if slices.Contains(asked, name) {
					continue
				}
				asked = append(asked, name)
				if doc, err := c.fetchDelegated(r, parents[0], name); err == nil {
					parents = append(parents, &doc.Payload)
				}
			}
		}
		parents = parents[1:]
	}
	return uptane.Document[metadata.TargetsType]{}, explained("the server's targets do not delegate to %s", role)
}

func (c *call) fetchDelegated(r *reposerver.Server, parent *metadata.TargetsType, role uptane.Role) (uptane.Document[metadata.TargetsType], error) {
	if _, err := home.OpenDelegated(parent, role, nil); errors.Is(err, home.ErrNotFound) {
		return uptane.Document[metadata.TargetsType]{}, err
	}
	a, err := r.Must(c.ctx, http.MethodGet, "delegations/"+role.Filename(0), nil, nil)
	if err != nil {
		return uptane.Document[metadata.TargetsType]{}, err
	}
	doc, err := home.OpenDelegated(parent, role, a.Body)
	if err != nil {
		return doc, explained("what the server sent for %s cannot be trusted: %w", role, err)
	}
	return doc, nil
}
