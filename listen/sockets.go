package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Sockets are the listening sockets of the process, by name: those it was
// given when it was started, and those it has bound. A name may have a TCP and
// a UDP socket, and either may be handed to a process that this one starts, so
// that there is no moment at which nobody listens. Its methods may be called
// concurrently.
type Sockets struct {
	log *slog.Logger

	mu     sync.Mutex
	given  []given
	listen []held
}

// given is a descriptor that the process was started with.
type given struct {
	name   string
	socket string // network of Go: "tcp" or "udp"; "": no socket to listen on
	own    bool   // from a process like this one
	fixed  bool   // to be used whatever its address
	file   *os.File
}

// held is a socket in use.
type held struct {
	name   string
	given  bool // by another process
	fixed  bool
	socket syscall.Conn
}

// The protocol of systemd's socket activation, sd_listen_fds(3).
const (
	firstDescriptor = 3
	envPID          = "LISTEN_PID"
	envCount        = "LISTEN_FDS"
	envNames        = "LISTEN_FDNAMES"
	// envParent is in the place of LISTEN_PID where a process starts another
	// like itself, for it cannot know what id that will have: its own.
	envParent = "FAIRLEAD_LISTEN_PARENT"
	// fixedMark follows the name of what came from systemd, to begin with.
	fixedMark = "!"
)

// Inherit returns the sockets that the process was started with: by systemd's
// socket activation, or by a process that used [Sockets.Descriptors]. It takes
// what it read out of the environment, so that no child mistakes it for its
// own. log gets warnings; nil: nobody does.
func Inherit(log *slog.Logger) (*Sockets, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sockets{log: log}
	pid, parent, count, names := os.Getenv(envPID), os.Getenv(envParent), os.Getenv(envCount), os.Getenv(envNames)
	for _, name := range []string{envPID, envParent, envCount, envNames} {
		_ = os.Unsetenv(name)
	}
	own := parent != "" && parent == strconv.Itoa(os.Getppid())
	if count == "" || !own && pid != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxDescriptors {
		return nil, fmt.Errorf("listen: inherit: %s is %q, want a number up to %d", envCount, count, maxDescriptors)
	}
	called := strings.Split(names, ":")
	for i := range n {
		g := given{own: own, fixed: !own}
		if i < len(called) {
			g.name = called[i]
		}
		if own {
			g.name, g.fixed = strings.CutSuffix(g.name, fixedMark)
		}
		g.file, g.socket = inherited(firstDescriptor+i, g.name)
		s.given = append(s.given, g)
	}
	return s, nil
}

// maxDescriptors bounds what a process is started with: a few addresses.
const maxDescriptors = 64

// Listen returns the TCP listener of that name: one that the process was given
// under it or, where a name is not known, that has the address; else one that
// it binds. A socket from systemd is used whatever its address, for whoever
// wrote the unit meant it; one from a process of our own only if its address is
// still the one to listen at. The caller closes it.
func (s *Sockets) Listen(ctx context.Context, name, address string) (net.Listener, error) {
	if g, ok := s.claim(name, "tcp", address); ok {
		l, err := net.FileListener(g.file)
		_ = g.file.Close() // l has one of its own
		if err != nil {
			return nil, fmt.Errorf("listen: inherited socket %s: %w", name, err)
		}
		s.hold(name, l, true, g.fixed)
		s.compare(g, address, l.Addr())
		return l, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		s.hold(name, l, false, false)
	}
	return l, err
}

// ListenPacket is Listen for UDP. A socket given under the name followed by
// "-udp" is taken too.
func (s *Sockets) ListenPacket(ctx context.Context, name, address string) (net.PacketConn, error) {
	if g, ok := s.claim(name, "udp", address); ok {
		c, err := net.FilePacketConn(g.file)
		_ = g.file.Close() // c has one of its own
		if err != nil {
			return nil, fmt.Errorf("listen: inherited socket %s: %w", name, err)
		}
		s.hold(name, c, true, g.fixed)
		s.compare(g, address, c.LocalAddr())
		return c, nil
	}
	c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err == nil {
		s.hold(name, c, false, false)
	}
	return c, err
}

// Given reports whether c, which came from [Sockets.ListenPacket], was given to
// the process, so that whoever gave it may still have connections on it.
func (s *Sockets) Given(c net.PacketConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.listen, func(h held) bool { return h.given && any(h.socket) == any(c) })
}

// File returns what the process was given under that name and is no socket to
// listen on, such as a pipe; nil: nothing. The caller closes it.
func (s *Sockets) File(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, g := range s.given {
		if g.name == name && g.socket == "" && g.own {
			s.given = slices.Delete(s.given, i, i+1)
			return g.file
		}
	}
	return nil
}

// CloseUnused closes what the process was given and nobody has asked for, and
// warns of it: clients would wait there for ever.
func (s *Sockets) CloseUnused() {
	s.mu.Lock()
	unused := s.given
	s.given = nil
	s.mu.Unlock()
	for _, g := range unused {
		at := ""
		if l, err := net.FileListener(g.file); err == nil {
			at = l.Addr().String()
			_ = l.Close()
		}
		_ = g.file.Close()
		if !g.own { // a process of our own hands over what another configuration had
			s.log.Warn("a socket that the process was given is not used, and closed; name it after the listener that it is for", "name", g.name, "address", at)
		}
	}
}

// claim takes the given socket that fits best.
func (s *Sockets) claim(name, network, address string) (given, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := func(g given) bool {
		return g.called(name) && g.socket == network && (g.fixed || sameAddress(g.file, network, address))
	}
	i := slices.IndexFunc(s.given, fits)
	if i < 0 {
		i = slices.IndexFunc(s.given, func(g given) bool { return g.fixed && g.socket == network && sameAddress(g.file, network, address) })
	}
	if i < 0 {
		return given{}, false
	}
	g := s.given[i]
	s.given = slices.Delete(s.given, i, i+1)
	return g, true
}

func (g given) called(name string) bool {
	return g.name == name || g.socket == "udp" && g.name == name+"-udp"
}

// compare says so when a given socket is elsewhere than the configuration has
// it.
func (s *Sockets) compare(g given, address string, at net.Addr) {
	if !spelled(g.socket, address, at) {
		s.log.Warn("a socket that the process was given is used in the place of the configured address",
			"name", g.name, "configured", address, "address", at.String())
	}
}

func (s *Sockets) hold(name string, socket any, given, fixed bool) {
	if c, ok := socket.(syscall.Conn); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listen = append(s.listen, held{name, given, fixed, c})
	}
}

// Descriptors are what a process of our own is started with, as
// [os/exec.Cmd.ExtraFiles], with no other before them, and the environment that
// tells it so. The caller closes the files.
type Descriptors struct {
	Files []*os.File
	Env   []string
}

// Descriptors returns copies of the sockets in use, and further files by name,
// for a process that this one starts. Closed sockets are left out.
func (s *Sockets) Descriptors(further map[string]*os.File) Descriptors {
	s.mu.Lock()
	defer s.mu.Unlock()
	var d Descriptors
	var names []string
	for _, h := range s.listen {
		f, err := duplicate(h.socket, h.name)
		if err != nil {
			continue // it is closed
		}
		name := h.name
		if h.fixed {
			name += fixedMark
		}
		d.Files, names = append(d.Files, f), append(names, name)
	}
	for name, f := range further {
		d.Files, names = append(d.Files, f), append(names, name)
	}
	d.Env = []string{
		envParent + "=" + strconv.Itoa(os.Getpid()), envCount + "=" + strconv.Itoa(len(names)), envNames + "=" + strings.Join(names, ":"),
	}
	return d
}

// Close closes the files.
func (d Descriptors) Close() error {
	var errs []error
	for _, f := range d.Files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// sameAddress reports whether a socket is bound where address says.
func sameAddress(f *os.File, network, address string) bool {
	if network == "udp" {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return false
		}
		defer c.Close()
		return spelled(network, address, c.LocalAddr())
	}
	l, err := net.FileListener(f)
	if err != nil {
		return false
	}
	defer l.Close()
	return spelled(network, address, l.Addr())
}

// spelled reports whether address, in whatever spelling, is the one that a
// socket has. Port 0 is any port.
func spelled(network, address string, has net.Addr) bool {
	var want netip.AddrPort
	if network == "udp" {
		a, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return false
		}
		want = a.AddrPort()
	} else {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return false
		}
		want = a.AddrPort()
	}
	got, err := netip.ParseAddrPort(has.String())
	if err != nil {
		return false // a Unix socket
	}
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	host, is := want.Addr().Unmap(), got.Addr().Unmap()
	everywhere := (!host.IsValid() || host == any6) && (is == any6 || is == any4)
	return (everywhere || host == is) && (want.Port() == 0 || want.Port() == got.Port())
}
