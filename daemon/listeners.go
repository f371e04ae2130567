package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/fairlead-edge/fairlead/listen"
)

// server is one address and who serves it.
type server struct {
	*listen.Server

	name string // of its key in the configuration
	url  string
	tcp  net.Listener
	udp  net.PacketConn // nil without HTTP/3

	stopped chan struct{} // closed when it accepts no more
}

// listen binds the addresses; on an error none stays bound.
func (d *daemon) listen(ctx context.Context, cfg *Config) (err error) {
	defer func() {
		if err != nil {
			d.unbind()
		}
	}()
	for _, l := range []struct {
		name, address string
		handler       func(*site) http.Handler
	}{
		{"http", cfg.HTTP, func(s *site) http.Handler { return s.public }},
		{"https", cfg.HTTPS, func(s *site) http.Handler { return s.secure }},
		{"admin", cfg.Admin, func(s *site) http.Handler { return s.admin }},
	} {
		if l.address == "" {
			continue
		}
		// The site changes with a reload; each request is served by one.
		current := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.handler(d.site.Load()).ServeHTTP(w, r) })
		s := &server{name: l.name, stopped: make(chan struct{})}
		if err := s.bind(ctx, d.sockets, l.address, cfg.HTTP3.Enabled); err != nil {
			return fmt.Errorf("daemon: listen: %w; --%s takes another address", err, l.name)
		}
		if err := d.equip(s, current, cfg); err != nil {
			s.unbind()
			return err
		}
		d.servers = append(d.servers, s)
	}
	d.failed = make(chan error, len(d.servers))
	return nil
}

func (d *daemon) unbind() {
	for _, s := range d.servers {
		s.unbind()
	}
}

func (s *server) unbind() {
	_ = s.tcp.Close()
	if s.udp != nil {
		_ = s.udp.Close()
	}
}

// equip gives s, which is bound, what will serve.
func (d *daemon) equip(s *server, h http.Handler, cfg *Config) error {
	c := listen.Config{
		Handler: h, Timeouts: cfg.timeouts(), Limits: cfg.connectionLimits(),
		Refuse: d.refused, BaseContext: d.base, Logger: d.log, Observer: d.watchConnections(s.name),
	}
	if s.name != "admin" {
		c.ProxyProtocol = prefixes(cfg.ProxyProtocol)
	}
	var err error
	if s.name == "https" {
		s.url = "https://" + s.tcp.Addr().String()
		if c.TLS, err = d.newTLS(cfg); err != nil {
			return fmt.Errorf("daemon: tls: %w", err)
		}
		c.QUIC = listen.QUIC{
			Port: cfg.HTTP3.Port, WebSocket: cfg.HTTP3.WebSocket, EarlyData: d.earlyData(cfg), Previous: d.previousQUIC(s),
		}
	}
	if s.Server, err = listen.New(c); err != nil {
		return fmt.Errorf("daemon: %s: %w", s.name, err)
	}
	return nil
}

// previousQUIC returns the way to the process that had the UDP socket of s
// before. One that has another socket keeps it, and learns so.
func (d *daemon) previousQUIC(s *server) *os.File {
	pair := d.sockets.File(quicPair)
	if pair != nil && (s.udp == nil || !d.sockets.Given(s.udp)) {
		_ = pair.Close()
		return nil
	}
	return pair
}

// bind binds the address; with TLS and quic also the UDP port of the same
// number.
func (s *server) bind(ctx context.Context, sockets *listen.Sockets, address string, quic bool) error {
	// A free port may not be free on UDP; how often that is tried again.
	const attempts = 10
	for try := 1; ; try++ {
		tcp, err := sockets.Listen(ctx, s.name, address)
		if err != nil {
			return err
		}
		s.tcp = tcp
		if s.name != "https" || !quic {
			break
		}
		s.udp, err = sockets.ListenPacket(ctx, s.name, tcp.Addr().String())
		if err == nil {
			break
		}
		_ = tcp.Close()
		if try == attempts || !wantsFreePort(address) {
			return err
		}
	}
	s.url = "http://" + s.tcp.Addr().String()
	return nil
}

func wantsFreePort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

// newTLS reads the certificates, or makes one for development.
func (d *daemon) newTLS(cfg *Config) (*listen.TLS, error) {
	t := &listen.TLS{MinVersion: uint16(cfg.TLS.MinVersion), RequireClient: cfg.TLS.RequireClient}
	var err error
	if t.ClientCAs, err = cfg.TLS.clientCAs(); err != nil {
		return nil, err
	}
	if d.tickets, err = d.newTickets(cfg); err != nil {
		return nil, err
	}
	t.Tickets = d.tickets
	if len(cfg.TLS.Certificates) > 0 {
		d.certificates, err = listen.LoadCertificates(cfg.pairs())
	} else {
		d.certificates, err = d.developmentCertificate()
	}
	t.Certificates = d.certificates
	return t, err
}

// newTickets returns the keys of the fleet, those of the process before this
// one, or new ones.
func (d *daemon) newTickets(cfg *Config) (*listen.Keyring, error) {
	if file := cfg.TLS.TicketKeys.file(); file != "" {
		return listen.LoadKeyring(file)
	}
	if before := d.handover.before; before != nil && before.Tickets != nil {
		return listen.ImportKeyring(before.Tickets)
	}
	return listen.NewKeyring(), nil
}

// exportTickets returns the keys for the process after this one, unless it finds
// them in a file.
func (d *daemon) exportTickets() []byte {
	if d.tickets == nil || d.site.Load().cfg.TLS.TicketKeys.Name != "" {
		return nil
	}
	return d.tickets.Export()
}

// reloadTLS reads the files of certificates and keys again, whose names a
// reload does not change. What is wrong with them leaves the old ones.
func (d *daemon) reloadTLS() error {
	if d.certificates == nil {
		return nil
	}
	return errors.Join(d.certificates.Reload(), d.tickets.Reload())
}

// developmentCertificate makes one for localhost, or finds that of an earlier
// start.
func (d *daemon) developmentCertificate() (*listen.Certificates, error) {
	dir, err := d.developmentFolder()
	if err != nil {
		return nil, err
	}
	all, dev, err := listen.Development(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; set tls.certificates, or XDG_CONFIG_HOME to a folder of this user's", err)
	}
	d.log.Info("there is no certificate in the configuration: one for localhost is used, which clients trust after the command that follows",
		"trust", dev.TrustHint(), "authority", dev.CAFile, "certificate", dev.CertFile, "spki", dev.SPKI)
	return all, nil
}

// developmentFolder is where the development certificate is remembered. A user
// without a home gets a new one: where all may write, whoever came first would
// know the key of one with a name that is known.
func (d *daemon) developmentFolder() (string, error) {
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "fairlead"), nil
	}
	dir, err := os.MkdirTemp("", "fairlead-")
	if err != nil {
		return "", fmt.Errorf("no folder for a development certificate: %w; set tls.certificates, HOME or XDG_CONFIG_HOME", err)
	}
	d.log.Warn("the development certificate will not be found by the next start, which makes another one: set HOME or XDG_CONFIG_HOME", "folder", dir)
	return dir, nil
}

// earlyData returns nil when no route wants requests before the end of a
// handshake; a reload may change which do, but not whether any does.
func (d *daemon) earlyData(cfg *Config) func(*http.Request) bool {
	if !cfg.anyEarlyData() {
		return nil
	}
	return func(r *http.Request) bool {
		s, path := d.site.Load(), routePath(r.URL.Path)
		if under(path, ownPaths) || s.readers != nil && under(path, s.cfg.TopicsPrefix) {
			return false // what no route is asked about
		}
		to, ok := s.match.find(path)
		return ok && to.from.cfg.EarlyData
	}
}

func (c *Config) anyEarlyData() bool {
	for i := range c.Routes {
		if c.Routes[i].EarlyData {
			return true
		}
	}
	return false
}
