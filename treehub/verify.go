package treehub

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"sealift/internal/db"
	"sealift/internal/fsck"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// verifyPage is how many objects are looked at between two looks at the tables.
const verifyPage = 500

// Verify checks everything that is stored, of all namespaces, and writes what
// it finds into a: every object is read and held against its name, its size
// and its edges; that an object is complete is worked out anew; every commit,
// ref and manifest has its object; blobs that no row names are counted. It
// changes nothing, and may run while others push. Errors are accidents.
func (t *TreeHub) Verify(ctx context.Context, a *fsck.Account) error {
	list, err := t.store.namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing namespaces of TreeHub: %w", err)
	}
	for _, ns := range list {
		v := verification{TreeHub: t, ns: ns, account: a}
		if err := errors.Join(v.objects(ctx), v.strays(ctx), v.pointers(ctx)); err != nil {
			return fmt.Errorf("verifying objects of %s: %w", ns, err)
		}
	}
	if err := a.Blobs(ctx, t.bucket, t.named); err != nil {
		return fmt.Errorf("looking for blobs of TreeHub that no object has: %w", err)
	}
	return nil
}

// verification is the check of one namespace.
type verification struct {
	*TreeHub
	ns      uptane.Namespace
	account *fsck.Account
}

func (v verification) damaged(name, format string, args ...any) {
	v.account.Damaged(v.ns, "object "+name, format, args...)
}

// objects goes through all rows, a page at a time, several blobs at once.
func (v verification) objects(ctx context.Context) error {
	for after := ""; ; {
		page, err := v.store.objectsAfter(ctx, v.ns, after, verifyPage)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].Name
		var parents []string
		for _, o := range page {
			if o.stored() {
				parents = append(parents, o.Name)
			}
		}
		edges, err := v.store.edgesOf(ctx, v.ns, parents)
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(2 * runtime.NumCPU()) // reading and hashing take turns
		for _, o := range page {
			group.Go(func() error { return v.object(ctx, o, edges[o.Name]) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// object verifies one row. Edges were read later than the row: what is said
// about waiting is held against the row that was read with them.
func (v verification) object(ctx context.Context, o object, edges []edgeRecord) error {
	name, err := ostree.ParseObjectName(o.Name)
	if err != nil {
		v.damaged(o.Name, "it is no name of an object")
		return nil
	}
	if !o.stored() {
		v.account.Looked("objects only referred to", 1)
		if o.Lacks != 1 || o.Size != 0 {
			v.damaged(o.Name, "it is not stored, yet its row says that it lacks %d and has %d bytes", o.Lacks, o.Size)
		}
		return nil
	}
	v.account.Looked("objects", 1)
	res, found, err := v.read(ctx, name, o)
	if err != nil || !found {
		return err
	}
	v.edges(o, res, edges)
	if res.Commit != nil {
		return v.commit(ctx, name, res.Commit)
	}
	return nil
}

// read verifies the bytes of an object. Found is false where there is nothing
// to go on with: damage that was noted, or an object replaced meanwhile.
func (v verification) read(ctx context.Context, name ostree.ObjectName, o object) (ostree.Result, bool, error) {
	key := blobKey(v.ns, name, o.Generation)
	r, err := v.bucket.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		now, again := v.store.object(ctx, v.store.db, v.ns, name)
		if again != nil && !errors.Is(again, db.ErrNoRows) {
			return ostree.Result{}, false, again
		}
		if now.Generation == o.Generation {
			v.damaged(o.Name, "its blob %s is gone", key)
		}
		return ostree.Result{}, false, nil
	}
	if err != nil {
		return ostree.Result{}, false, fmt.Errorf("opening blob %s: %w", key, err)
	}
	defer func() { _ = r.Close() }()
	v.account.Read(r.Size())
	res, err := ostree.VerifyReader(name, o.Size, r)
	var rule *ostree.RuleError
	if errors.As(err, &rule) {
		v.damaged(o.Name, "its blob %s is not what its name says: %v", key, rule)
		return res, false, nil
	}
	if err != nil {
		return res, false, fmt.Errorf("reading blob %s: %w", key, err)
	}
	return res, true, nil
}

// edges holds the edges of the tables against the bytes, and what they say
// about completeness against the children.
func (v verification) edges(o object, res ostree.Result, have []edgeRecord) {
	var want []string
	for _, e := range res.Edges {
		want = append(want, e.String())
	}
	slices.Sort(want)
	var got []string
	waiting, lacks := int64(0), o.Lacks
	for _, e := range have {
		got = append(got, e.Child)
		if e.Waiting {
			waiting++
		}
		if e.Lacks != nil {
			lacks = *e.Lacks
		}
		if e.ChildLacks != nil && e.Waiting != (*e.ChildLacks != 0) {
			v.damaged(o.Name, "its edge to %s says waiting %t, but that object lacks %d", e.Child, e.Waiting, *e.ChildLacks)
		}
	}
	v.account.Looked("edges", len(have))
	if !slices.Equal(want, got) {
		v.damaged(o.Name, "it has %d edges in the table and %d in its bytes, or others", len(got), len(want))
		return
	}
	if lacks != waiting {
		v.damaged(o.Name, "its row says that it lacks %d objects, its edges that it lacks %d", lacks, waiting)
	}
}

// commit holds the row of a commit against its bytes.
func (v verification) commit(ctx context.Context, name ostree.ObjectName, c *ostree.Commit) error {
	v.account.Looked("commits", 1)
	row, err := v.store.commit(ctx, v.ns, name.Checksum)
	if errors.Is(err, db.ErrNoRows) {
		v.damaged(name.String(), "the list of commits lacks it")
		return nil
	}
	if err != nil {
		return err
	}
	want := commitRow(Upload{Name: name}, c, 0)
	if row.Parent != want.Parent || row.Subject != want.Subject || row.CommittedAt != want.CommittedAt {
		v.damaged(name.String(), "the list of commits says otherwise about its parent, subject or time")
	}
	return nil
}

// strays looks for edges that lead nowhere.
func (v verification) strays(ctx context.Context) error {
	list, err := v.store.strayEdges(ctx, v.ns)
	for _, e := range list {
		v.damaged(e.Parent, "there is an edge from it to %s, but one of the two is not there", e.Child)
	}
	return err
}

// pointers looks at what points to commits.
func (v verification) pointers(ctx context.Context) error {
	commits, err := v.store.badCommits(ctx, v.ns)
	if err != nil {
		return err
	}
	for _, sum := range commits {
		v.account.Damaged(v.ns, "commit "+sum, "it is listed, but its object is not stored")
	}
	n, err := v.store.countRefs(ctx, v.ns)
	if err != nil {
		return err
	}
	v.account.Looked("refs", n)
	refs, err := v.store.badRefs(ctx, v.ns)
	for _, r := range refs {
		v.account.Damaged(v.ns, "ref "+r.Name, "its commit %s is not complete", r.Checksum)
	}
	return err
}

// named tells which keys of blobs are those of objects.
func (t *TreeHub) named(ctx context.Context, keys []string) (map[string]bool, error) {
	names := map[uptane.Namespace][]string{}
	parsed := map[string]blobName{}
	for _, key := range keys {
		if b, ok := parseBlobKey(key); ok {
			parsed[key] = b
			names[b.ns] = append(names[b.ns], b.name.String())
		}
	}
	found := make(map[string]bool, len(keys))
	for ns, list := range names {
		have, err := t.store.generations(ctx, ns, list)
		if err != nil {
			return nil, err
		}
		for key, b := range parsed {
			if b.ns == ns && have[b.name.String()] == b.generation {
				found[key] = true
			}
		}
	}
	return found, nil
}

// blobName is what the key of a blob says.
type blobName struct {
	ns         uptane.Namespace
	name       ostree.ObjectName
	generation string
}

// parseBlobKey reads what blobKey writes.
func parseBlobKey(key string) (blobName, bool) {
	ns, rest, ok := strings.Cut(key, "/objects/")
	i := strings.LastIndexByte(rest, '.')
	if !ok || i < 0 {
		return blobName{}, false
	}
	name, err := ostree.ParseObjectPath(rest[:i])
	return blobName{uptane.Namespace(ns), name, rest[i+1:]}, err == nil
}
