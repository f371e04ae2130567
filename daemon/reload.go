package daemon

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// reload reads the configuration again and serves by it. A wrong one, or one
// that needs a restart, is logged and changes nothing.
func (d *daemon) reload() {
	err := d.tryReload()
	d.metrics.Reloaded(err == nil)
	if keys, ok := errors.AsType[restartError](err); ok {
		for _, key := range keys {
			d.log.Error("the configuration asks for a restart; the old one stays until then", "at", key, "error", "a change of it needs a restart, such as by SIGUSR2")
		}
		return
	}
	if problems, ok := errors.AsType[ConfigErrors](err); ok {
		for _, p := range problems {
			d.log.Error("the configuration is wrong; the old one stays", "at", p.Where, "error", p.What)
		}
		return
	}
	if err != nil {
		d.log.Error("the configuration was not read again; the old one stays", "error", err)
		return
	}
	attrs := []any{}
	if d.certificates != nil {
		attrs = append(attrs, "certificates_expire", d.certificates.Expires())
	}
	d.log.Info("the configuration was read again", attrs...)
}

func (d *daemon) tryReload() error {
	if d.options.Config == "" {
		return errors.New("daemon: reload: the program was started without --config, so there is no file to read")
	}
	cfg, err := Load(d.options)
	if err != nil {
		return err
	}
	old := d.site.Load()
	if err := needsRestart(&old.cfg, &cfg); err != nil {
		return err
	}
	next, err := d.build(cfg, old)
	if err != nil {
		return err
	}
	if err := d.reloadTLS(); err != nil {
		d.log.Error("a file of the TLS listener is wrong; what was read before is used on", "error", err)
	}
	setLevel(d.level, cfg.Log.Level)
	next.retire(old)
	d.site.Store(next)
	next.captured.AllowOrigins(cfg.CORS)
	next.topics.Reload(cfg.policies())
	for _, s := range d.sites() { // of those before, the readers may publish still
		if s.readers != nil {
			s.readers.LetPublish(mayPublish(&cfg), cfg.PublishToken)
		}
	}
	d.retirePools(old.pools, next.pools)
	return nil
}

// restartError are the keys whose change a running process cannot follow. The
// configuration is right.
type restartError []string

// Error names the keys.
func (e restartError) Error() string {
	return "daemon: reload: a restart is needed for the change of " + strings.Join(e, ", ")
}

// needsRestart returns what of the change a running process cannot do.
func needsRestart(was, now *Config) error {
	var keys restartError
	for _, c := range []struct {
		key     string
		changed bool
	}{
		{"http", was.HTTP != now.HTTP},
		{"https", was.HTTPS != now.HTTPS},
		{"admin", was.Admin != now.Admin},
		{"tls", !reflect.DeepEqual(was.TLS, now.TLS)},
		{"http3", was.HTTP3 != now.HTTP3},
		{"timeouts", was.Timeouts != now.Timeouts},
		{"proxy_protocol", !slices.Equal(was.ProxyProtocol, now.ProxyProtocol)},
		{"early_data, which no route had before,", now.anyEarlyData() && !was.anyEarlyData()},
		{"compress.memory", was.Compress.Memory != now.Compress.Memory},
		{"limits.connections", was.Limits.Connections != now.Limits.Connections},
		{"limits.connections_per_address", was.Limits.ConnectionsPerAddress != now.Limits.ConnectionsPerAddress},
		{"limits.connection_rate", was.Limits.ConnectionRate != now.Limits.ConnectionRate},
		{"limits.requests_per_connection", was.Limits.RequestsPerConnection != now.Limits.RequestsPerConnection},
		{"limits.header", was.Limits.Header != now.Limits.Header},
		{"fanout.flush_delay", was.Fanout.FlushDelay != now.Fanout.FlushDelay},
		{"log.format", was.Log.Format != now.Log.Format},
		{"limits.topics", was.Limits.Topics != now.Limits.Topics},
		{"limits.captured_stream", was.Limits.CapturedStream != now.Limits.CapturedStream},
		{"limits.captured_total", was.Limits.CapturedTotal != now.Limits.CapturedTotal},
		{"tracing", was.Tracing != now.Tracing},
		{"metrics", !reflect.DeepEqual(was.Metrics, now.Metrics)},
		{"limits.captured_keep", was.Limits.CapturedKeep != now.Limits.CapturedKeep},
	} {
		if c.changed {
			keys = append(keys, c.key)
		}
	}
	if keys != nil {
		return keys
	}
	return nil
}

// retire keeps hold of what the old site does not hand over and may still have
// streams, so that a drain finds it. Sites that have none left are forgotten.
func (s *site) retire(old *site) {
	left := &site{cfg: old.cfg}
	for _, r := range old.routes {
		if !slices.Contains(s.routes, r) {
			left.routes = append(left.routes, r)
		}
	}
	if old.readers != s.readers {
		left.readers = old.readers
	}
	if old.rpc != nil && old.rpc != s.rpc {
		old.rpc.SetServing(false) // uploads and watchers come back, and meet what is in force
	}
	for _, earlier := range old.retired {
		if earlier.busy() {
			s.retired = append(s.retired, earlier)
		}
	}
	s.retired = append(s.retired, left)
}

// busy reports whether anybody still uses the site.
func (s *site) busy() bool {
	for _, r := range s.routes {
		if r.proxy.Relays() > 0 || len(r.proxy.Transfers(1)) > 0 {
			return true
		}
	}
	return s.readers != nil && len(s.readers.Sessions(1)) > 0
}

// latecomers is how long a pool that was replaced is kept for requests that
// had read the old configuration and have not come to it yet.
const latecomers = 5 * time.Second

// retirePools closes each old pool that is not among the new ones when the
// last request on it is over, or when the program ends.
func (d *daemon) retirePools(old, now map[string]*upstream.Pool) {
	for name, p := range old {
		if now[name] == p {
			continue
		}
		d.retiring.Go(func() {
			timer := time.NewTimer(latecomers)
			defer timer.Stop()
			select {
			case <-d.base.Done():
			case <-timer.C:
			}
			_ = p.Shutdown(d.base) // an error says that the program ended first
		})
	}
}
