package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead/conformance/drill/diagnose"
)

const (
	// warm is how long a site is left to itself, and calm how long it is then looked
	// at before a fault comes.
	warm, calm = time.Second, 2 * time.Second
	// first is how long a fault goes on before it is asked for, and look how long
	// until it is asked for again, if nothing is named.
	first, look = 3 * time.Second, time.Second
	// patience is how long what must come is waited for. It is no measure.
	patience = 45 * time.Second
	// healthy is the name of the run without a fault, and how long it is looked at.
	healthy, healthyFor = "healthy", 6 * time.Second
)

// fault is one that can be played. Nil fields are what a healthy site does.
type fault struct {
	name   string
	how    string // it is played, where that is done in more than one way
	setup  setup
	inject func(context.Context, *site) error // begins it; what it starts ends with ctx
}

// title is what the fault is called in a table.
func (f *fault) title() string {
	if f.how == "" {
		return f.name
	}
	return f.name + ", " + f.how
}

// result is what was named.
type result struct {
	found []diagnose.Finding
	took  time.Duration // from the beginning of the fault
}

// try plays a fault. The error says what was not as it should be.
func try(ctx context.Context, program string, f fault) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	s, err := open(ctx, program, f.setup)
	if err != nil {
		return r, err
	}
	defer func() {
		cancel()
		if e := s.close(); err == nil {
			err = e
		}
	}()
	admin := &diagnose.Admin{URL: s.admin, Client: &http.Client{Transport: s.watch, Timeout: patience}}
	if err := pause(ctx, warm); err != nil {
		return r, err
	}
	before, err := admin.Snapshot(ctx)
	if err != nil {
		return r, err
	}
	during := calm
	if f.inject == nil {
		during = healthyFor
	}
	if err := pause(ctx, during); err != nil {
		return r, err
	}
	after, err := admin.Snapshot(ctx)
	if err != nil {
		return r, err
	}
	if found := diagnose.Compare(before, after); len(found) > 0 {
		return r, fmt.Errorf("while all was well it named %v", found)
	}
	if f.inject == nil {
		return r, s.failed()
	}
	began := time.Now()
	if err := f.inject(ctx, s); err != nil {
		return r, fmt.Errorf("play it: %w", err)
	}
	before = after
	for wait := first; time.Since(began) < patience; wait = look {
		if err := pause(ctx, wait); err != nil {
			return r, err
		}
		if after, err = admin.Snapshot(ctx); err != nil {
			return r, err
		}
		r = result{diagnose.Compare(before, after), time.Since(began)}
		if len(r.found) > 0 {
			break
		}
	}
	if len(r.found) == 0 {
		return r, fmt.Errorf("nothing was named in %v", patience)
	}
	if r.found[0].Fault != f.name {
		return r, fmt.Errorf("it named %v", r.found)
	}
	return r, nil
}

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
