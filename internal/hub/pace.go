package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// While requests fail one at a time, the pauses between them double from
// firstPause on; after the last that is not above maxPause it is over.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// pace decides when a request may be sent: as many at once as the server bears
// (additive increase, multiplicative decrease).
type pace struct {
	max   float64
	retry func(error)

	mu     sync.Mutex
	window float64         // requests that may be under way, at least 1
	flying int             // requests under way
	queue  []chan struct{} // those that wait, closed when they may go
	until  time.Time       // nobody goes before
	alarm  *time.Timer     // rings then
	pause  time.Duration   // the next one
	epoch  int             // counts reactions to failures
}

func newPace(jobs int, retry func(error)) *pace {
	return &pace{max: float64(jobs), retry: retry, window: 1, pause: firstPause}
}

// do runs try until it succeeds, fails for good or nothing helps any more.
func (p *pace) do(ctx context.Context, try func() error) error {
	for {
		epoch, err := p.enter(ctx)
		if err != nil {
			return err
		}
		err = try()
		temporary := isTemporary(ctx, err)
		goOn := p.leave(epoch, err, temporary)
		var final permanent
		if errors.As(err, &final) {
			return final.error
		}
		if err == nil || !temporary || !goOn {
			return err
		}
		if p.retry != nil {
			p.retry(err)
		}
	}
}

// isTemporary takes failed connections for temporary.
func isTemporary(ctx context.Context, err error) bool {
	var final permanent
	var status *StatusError
	switch {
	case err == nil, ctx.Err() != nil, errors.As(err, &final):
		return false
	case errors.As(err, &status):
		return status.Temporary()
	}
	return !isLocal(err)
}

// enter waits for its turn.
func (p *pace) enter(ctx context.Context) (epoch int, err error) {
	turn := make(chan struct{})
	p.mu.Lock()
	p.queue = append(p.queue, turn)
	p.admit()
	p.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil {
		return p.epoch, nil
	}
	if i := slices.Index(p.queue, turn); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	} else { // its turn came as well
		p.flying--
		p.admit()
	}
	return 0, context.Cause(ctx)
}

// admit lets those go that may. Called locked.
func (p *pace) admit() {
	if rest := time.Until(p.until); rest > 0 {
		if p.alarm == nil {
			p.alarm = time.AfterFunc(rest, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.alarm = nil
				p.admit()
			})
		}
		return
	}
	for len(p.queue) > 0 && p.flying < int(p.window) {
		close(p.queue[0])
		p.queue = p.queue[1:]
		p.flying++
	}
}

// leave takes note of how a request went that began in an epoch, and reports
// whether it makes sense to go on after a failure.
func (p *pace) leave(epoch int, err error, temporary bool) (goOn bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.admit()
	p.flying--
	if !temporary {
		if err == nil {
			p.window = min(p.max, p.window+1/p.window)
			p.pause = firstPause
		}
		return true
	}
	if epoch != p.epoch {
		return true // began before the last reaction, which was to the same trouble
	}
	p.epoch++
	pause := time.Duration(0)
	if p.window > 1 {
		p.window = max(1, p.window/2)
	} else {
		pause = p.pause
		p.pause *= 2
		if pause > maxPause {
			return false
		}
	}
	var status *StatusError
	if errors.As(err, &status) {
		pause = max(pause, min(status.After, maxPause))
	}
	p.until = time.Now().Add(pause)
	return true
}
