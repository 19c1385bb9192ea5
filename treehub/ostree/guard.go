package ostree

import "io"

// guard passes an object through while verifying it, and holds back the end:
// who reads it gets the last bytes only once the whole object has passed, and
// otherwise an error in their place.
type guard struct {
	r     io.Reader
	v     *Verifier
	pages [2][]byte
	out   []byte // may be handed out
	held  []byte // not yet
	n     int64  // bytes handed out
	err   error  // after out; io.EOF means the object has passed
}

func newGuard(name ObjectName, size int64, r io.Reader) *guard {
	const page = 32 << 10
	return &guard{r: &input{r: r}, v: NewVerifier(name, size), pages: [2][]byte{make([]byte, page), make([]byte, page)}}
}

func (g *guard) Read(p []byte) (int, error) {
	for len(g.out) == 0 && g.err == nil {
		g.advance()
	}
	if len(g.out) == 0 {
		return 0, g.err
	}
	n := copy(p, g.out)
	g.out = g.out[n:]
	g.n += int64(n)
	return n, nil
}

// advance reads one page and releases the one before.
func (g *guard) advance() {
	n, err := g.r.Read(g.pages[0]) // input repeats an error, so none is lost with n > 0
	switch {
	case n > 0:
		if _, g.err = g.v.Write(g.pages[0][:n]); g.err == nil {
			g.out, g.held = g.held, g.pages[0][:n]
			g.pages[0], g.pages[1] = g.pages[1], g.pages[0]
		}
	case err == io.EOF:
		if _, g.err = g.v.Close(); g.err == nil {
			g.out, g.held, g.err = g.held, nil, io.EOF
		}
	default:
		g.err = err
	}
}

// close ends the verification, also of an object not read to its end.
func (g *guard) close() { g.v.Close() }
