package ostree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// CopyOptions says how Copy is to work.
type CopyOptions struct {
	// Jobs is the number of requests at once; 8 if zero.
	Jobs int
	// WalkTree looks at every object of the commit, also below those that the
	// sink has.
	WalkTree bool
	// SkipVerify sends files and folder attributes as they are. Commits and
	// dirtrees must be well-formed even then, or they could not be followed.
	SkipVerify bool
	// DryRun asks the sink what it has, and puts nothing.
	DryRun bool
	// Progress, if set, is told of every change, one call at a time. It must be
	// quick and must not call into the Copy.
	Progress func(Stats)
}

// Stats counts what a Copy did so far.
type Stats struct {
	Queried  int   // objects the sink was asked for
	Missing  int   // of these, what it did not have
	Uploaded int   // objects put
	Bytes    int64 // in them
	Total    int   // objects known of, growing while the tree is walked
}

// Copy brings a commit and everything below it, but not its parent, from src
// to dst. Refs are left alone.
//
// It asks dst from the top downwards, does not look below what dst has (unless
// WalkTree), and puts from the bottom upwards: an object is put only when dst
// has all its children, so whatever dst has is whole, also if Copy is
// interrupted, and a later Copy goes on where this one ended. Every object is
// asked for and put at most once. What src sends is verified before dst has all
// of it. Detached metadata (commitmeta) is copied if src has some and dst has
// none. The first error ends the Copy; the Stats count what was done.
func Copy(ctx context.Context, src Source, dst Sink, commit Checksum, opts CopyOptions) (Stats, error) {
	if err := context.Cause(ctx); err != nil {
		return Stats{}, fmt.Errorf("copying commit %s: %w", commit, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &copier{ctx: ctx, cancel: cancel, src: src, dst: dst, opts: opts, nodes: map[ObjectName]*node{}}
	c.wake.L = &c.mu
	if c.opts.Jobs <= 0 {
		c.opts.Jobs = 8
	}
	_, c.selfVerifying = dst.(*Dir)
	c.mu.Lock()
	root := c.node(ObjectName{commit, TypeCommit})
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	for range c.opts.Jobs {
		wg.Go(c.work)
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !root.done {
		c.err = errors.New("the tree contains itself")
	}
	if c.err != nil {
		return c.stats, fmt.Errorf("copying commit %s: %w", commit, c.err)
	}
	return c.stats, nil
}

// node is one object on its way.
type node struct {
	name    ObjectName
	parents []*node // to be told when this one is done
	pending int     // children that are not done
	present bool    // dst has it
	done    bool    // dst has it and all below
	data    []byte  // of a commit or dirtree still to be put
}

type copier struct {
	ctx           context.Context
	cancel        context.CancelCauseFunc
	src           Source
	dst           Sink
	opts          CopyOptions
	selfVerifying bool // dst verifies what is put

	mu      sync.Mutex
	wake    sync.Cond
	nodes   map[ObjectName]*node
	queries []*node // stacks: depth first keeps few trees in memory
	puts    []*node
	active  int
	stats   Stats
	err     error
}

// node returns the node called name, new ones queued. Called locked.
func (c *copier) node(name ObjectName) *node {
	n := c.nodes[name]
	if n == nil {
		n = &node{name: name}
		c.nodes[name] = n
		c.queries = append(c.queries, n)
		c.stats.Total++
	}
	return n
}

// work takes queries first, so that the sizes are known early, then puts.
func (c *copier) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		var n *node
		step := c.query
		if n = pop(&c.queries); n == nil {
			step, n = c.put, pop(&c.puts)
		}
		if n == nil && c.active == 0 {
			break // nothing left, and nobody who could add to it
		}
		if n == nil {
			c.wake.Wait()
			continue
		}
		c.active++
		c.mu.Unlock()
		err := step(n)
		c.mu.Lock()
		c.active--
		if err != nil {
			c.failLocked(err)
		}
	}
	c.wake.Broadcast()
}

func pop(stack *[]*node) *node {
	last := len(*stack) - 1
	if last < 0 {
		return nil
	}
	n := (*stack)[last]
	*stack = (*stack)[:last]
	return n
}

func (c *copier) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *copier) failLocked(err error) {
	if c.err == nil {
		c.err = err
		c.cancel(err)
	}
	c.wake.Broadcast()
}

// query finds out whether dst has an object and, if it matters, what is below.
func (c *copier) query(n *node) error {
	if n.name.Type == TypeCommitMeta {
		found, err := c.load(n)
		if err != nil || !found {
			c.settle(n, func() { c.stats.Total--; n.present = true })
			return err
		}
	}
	has, err := c.dst.Has(c.ctx, n.name)
	if err != nil {
		return err
	}
	var below []ObjectName
	if !has || c.opts.WalkTree {
		if below, err = c.expand(n); err != nil {
			return err
		}
	}
	c.settle(n, func() {
		c.stats.Queried++
		if n.present = has; has {
			n.data = nil
		} else {
			c.stats.Missing++
		}
		for _, name := range below {
			if child := c.node(name); !child.done {
				child.parents = append(child.parents, n)
				n.pending++
			}
		}
	})
	return nil
}

// settle applies a change and moves on every object that waited for it.
func (c *copier) settle(n *node, change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if n.pending == 0 {
		c.ready(n)
	}
	if c.opts.Progress != nil {
		c.opts.Progress(c.stats)
	}
	c.wake.Broadcast()
}

// ready is called, locked, when all below n is on dst.
func (c *copier) ready(n *node) {
	if !n.present && !c.opts.DryRun {
		c.puts = append(c.puts, n)
		return
	}
	n.done, n.data = true, nil
	for _, p := range n.parents {
		if p.pending--; p.pending == 0 {
			c.ready(p)
		}
	}
	n.parents = nil
}

// expand reads a commit or dirtree and returns what is below it.
func (c *copier) expand(n *node) ([]ObjectName, error) {
	switch n.name.Type {
	case TypeCommit, TypeDirTree:
	default:
		return nil, nil
	}
	found, err := c.load(n)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("reading object %s: %w", n.name, ErrNotFound)
	}
	if n.name.Type == TypeCommit {
		commit, err := ParseCommit(n.data)
		if err != nil {
			return nil, fmt.Errorf("reading object %s: %w", n.name, err)
		}
		return append(commit.edges(), ObjectName{n.name.Checksum, TypeCommitMeta}), nil
	}
	tree, err := ParseDirTree(n.data)
	if err != nil {
		return nil, fmt.Errorf("reading object %s: %w", n.name, err)
	}
	return tree.edges(), nil
}

// load reads and verifies an object that is not a file into n.data.
func (c *copier) load(n *node) (found bool, err error) {
	r, _, err := c.src.Object(c.ctx, n.name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxMetadata+1))
	if err == nil && len(data) > maxMetadata {
		err = broken("object_too_large", "metadata has more than %d bytes", maxMetadata)
	}
	if err == nil && !c.opts.SkipVerify {
		_, err = verifyBytes(n.name, data)
	}
	if err != nil {
		return false, fmt.Errorf("reading object %s: %w", n.name, err)
	}
	n.data = data
	return true, nil
}

// put sends an object whose children dst has.
func (c *copier) put(n *node) error {
	var size int64
	var err error
	if n.name.Type == TypeFile {
		size, err = c.putFile(n.name)
	} else {
		size, err = c.putMetadata(n)
	}
	if err != nil {
		return fmt.Errorf("putting object %s: %w", n.name, err)
	}
	c.settle(n, func() {
		c.stats.Uploaded++
		c.stats.Bytes += size
		n.present = true
	})
	return nil
}

func (c *copier) putMetadata(n *node) (int64, error) {
	if n.name.Type == TypeDirMeta { // the only one that was not needed before
		found, err := c.load(n)
		if err == nil && !found {
			err = ErrNotFound
		}
		if err != nil {
			return 0, err
		}
	}
	size := int64(len(n.data))
	return size, c.dst.Put(c.ctx, n.name, size, bytes.NewReader(n.data))
}

// putFile streams a file. One that can be read twice is verified first; any
// other is verified on the way.
func (c *copier) putFile(name ObjectName) (int64, error) {
	r, size, err := c.src.Object(c.ctx, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if c.opts.SkipVerify || c.selfVerifying {
		if size >= 0 {
			return size, c.dst.Put(c.ctx, name, size, r)
		}
		counted := &input{r: r}
		err := c.dst.Put(c.ctx, name, size, counted)
		return counted.n, err
	}
	if seeker, ok := r.(io.ReadSeeker); ok {
		res, err := VerifyReader(name, size, seeker)
		if err == nil {
			_, err = seeker.Seek(0, io.SeekStart)
		}
		if err != nil {
			return 0, err
		}
		return res.Size, c.dst.Put(c.ctx, name, res.Size, seeker)
	}
	g := newGuard(name, size, r)
	defer g.close()
	err = c.dst.Put(c.ctx, name, size, g)
	if g.err != nil && g.err != io.EOF { // says more than what dst makes of it
		err = g.err
	}
	return g.n, err
}
