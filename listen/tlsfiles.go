package listen

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// How often files are looked at, at most: when somebody uses what they hold.
const lookEvery = 10 * time.Second

// files are read again when they change, without a goroutine: whoever uses what
// they hold looks first. What is wrong with them is logged once.
type files struct {
	names []string
	// read takes over what they hold, or returns why it cannot and what was
	// taken before stays.
	read func() error
	// problems returns what is wrong with what was taken.
	problems func() []string

	next atomic.Int64 // when to look, in nanoseconds
	log  atomic.Pointer[slog.Logger]

	turn chan struct{} // who holds it reads; the rest is theirs
	seen []os.FileInfo
	said []string // and is still so
}

// follow reads the files for the first time.
func follow(names []string, read func() error, problems func() []string) (*files, error) {
	f := &files{names: names, read: read, problems: problems, turn: make(chan struct{}, 1)}
	return f, f.reload()
}

// reload reads the files, changed or not.
func (f *files) reload() error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.seen = f.stat()
	if err := f.read(); err != nil {
		f.seen = nil // and so they are read again
		return err
	}
	return nil
}

// report has problems logged from now on; the first logger stays.
func (f *files) report(log *slog.Logger) {
	if f.log.CompareAndSwap(nil, log) {
		f.next.Store(0)
		f.look()
	}
}

// look reads the files if they have changed. Only one caller at a time does;
// others go on with what there is.
func (f *files) look() {
	now := time.Now()
	if now.UnixNano() < f.next.Load() {
		return
	}
	select {
	case f.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-f.turn }()
	f.next.Store(now.Add(lookEvery).UnixNano())
	var wrong []string
	if seen := f.stat(); !slices.EqualFunc(seen, f.seen, same) {
		if err := f.read(); err != nil {
			seen = nil // half of it may have been written when it was looked at
			wrong = append(wrong, err.Error()+"; what was read before is used on")
		}
		f.seen = seen
	}
	f.say(append(wrong, f.problems()...))
}

// say logs what it has not said.
func (f *files) say(wrong []string) {
	log := f.log.Load()
	if log == nil {
		return
	}
	for _, what := range wrong {
		if !slices.Contains(f.said, what) {
			log.Warn(what)
		}
	}
	f.said = wrong
}

// stat returns nil for files that are not there.
func (f *files) stat() []os.FileInfo {
	infos := make([]os.FileInfo, len(f.names))
	for i, name := range f.names {
		infos[i], _ = os.Stat(name) // reading says why not
	}
	return infos
}

// same reports whether a file is what it was. Another may have taken its place,
// such as by a link of Kubernetes' that leads elsewhere.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// readSmall reads a file of keys or certificates, which are never large.
func readSmall(name string) ([]byte, error) {
	const largest = 1 << 20
	f, err := os.Open(name) //nolint:gosec // whoever configures the server names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err != nil {
		return nil, err
	}
	if len(b) > largest {
		return nil, fmt.Errorf("%s: larger than %d bytes: is it another file?", name, largest)
	}
	return b, nil
}
