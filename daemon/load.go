package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Options are what the command line and its variables say. They beat the file.
type Options struct {
	// Config is the configuration file; "": none.
	Config string
	// Upstreams are the endpoints of one upstream behind the route /**. They
	// stand in the place of a file, and turn the topics off.
	Upstreams []string
	// Topics turns the topics on, under /topics unless the file says where.
	Topics bool
	// HTTP, HTTPS and Admin are addresses of listeners; nil: as the file says.
	HTTP, HTTPS, Admin *string
	// AdminToken and PublishToken; "": as the file says.
	AdminToken, PublishToken string
}

// ErrUsage marks a wrong command line, for which a program exits with 2. A
// [ConfigErrors] that has a problem with a flag is one, too.
var ErrUsage = errors.New("wrong usage")

// demo reports whether the built-in demo is asked for: nothing else is.
func (o *Options) demo() bool { return o.Config == "" && len(o.Upstreams) == 0 }

// Load returns the configuration that the options ask for. When it is wrong,
// the error is of type [ConfigErrors].
func Load(o Options) (Config, error) {
	cfg := Default()
	if o.Config != "" && len(o.Upstreams) > 0 {
		return cfg, fmt.Errorf("%w: --upstream and --config together; put the upstream into the file", ErrUsage)
	}
	d := &decoder{file: o.Config}
	if o.Config != "" {
		text, err := readConfig(o.Config)
		if err != nil {
			return cfg, fmt.Errorf("daemon: config: %w", err)
		}
		d.decode(text, &cfg)
	}
	flags, problems := o.apply(&cfg)
	v := &validator{
		cfg: &cfg, read: d.sound,
		written: func(path string) bool { _, ok := d.at[path]; return ok },
		tell: func(path, what string) {
			if flag := flags[path]; flag != "" {
				problems = append(problems, Problem{flag, what})
				return
			}
			at, ok := place(d.at, path)
			if !ok {
				at = position{1, 1} // a default that does not fit the rest
			}
			d.reportf(at, "%s", what)
		},
	}
	v.all()
	slices.SortStableFunc(d.problems, byPosition)
	for _, p := range d.problems {
		problems = append(problems, Problem{fmt.Sprintf("%s:%d:%d", d.name(), p.line, p.column), p.what})
	}
	if len(problems) > 0 {
		return cfg, problems
	}
	return cfg, nil
}

// readConfig reads the file, but of one that is too large no more than shows it.
func readConfig(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

func (d *decoder) name() string {
	if d.file == "" {
		return "defaults"
	}
	return d.file
}

// apply puts the flags over the file, and returns which decided about what.
func (o *Options) apply(cfg *Config) (flags map[string]string, problems ConfigErrors) {
	flags = make(map[string]string)
	for path, f := range map[string]struct{ value, to *string }{
		"http": {o.HTTP, &cfg.HTTP}, "https": {o.HTTPS, &cfg.HTTPS}, "admin": {o.Admin, &cfg.Admin},
	} {
		if f.value != nil {
			*f.to = *f.value
			flags[path] = strings.TrimSpace("--" + path + " " + *f.value)
		}
	}
	if o.AdminToken != "" {
		cfg.AdminToken = o.AdminToken
	}
	if o.PublishToken != "" {
		cfg.PublishToken = o.PublishToken
	}
	if len(o.Upstreams) > 0 {
		var up Upstream
		up.defaults()
		for _, text := range o.Upstreams {
			var e Endpoint
			if err := e.parse(text); err != nil {
				problems = append(problems, Problem{upstreamFlag(text), err.Error()})
			}
			up.Endpoints = append(up.Endpoints, e)
		}
		route := Route{Path: Pattern{[]string{anyMany}}, Upstream: "upstream"}
		route.defaults()
		cfg.Upstreams = map[string]Upstream{"upstream": up}
		cfg.Routes = []Route{route}
		flags["upstreams.upstream"], flags["upstreams.upstream.endpoints"] = "--upstream", "--upstream"
		for i, text := range o.Upstreams {
			flags[index("upstreams.upstream.endpoints", i)] = upstreamFlag(text)
		}
		cfg.TopicsPrefix = ""
	}
	if o.Topics && cfg.TopicsPrefix == "" {
		cfg.TopicsPrefix = Default().TopicsPrefix
	}
	return flags, problems
}

// upstreamFlag is the flag as it was given, but for what may be a password.
func upstreamFlag(value string) string {
	if i := strings.LastIndex(value, "@"); i >= 0 {
		value = "…" + value[i:]
	}
	return strings.TrimSpace("--upstream " + value)
}

// Check reads the configuration file and returns what it configures, in one
// line. When the file is wrong, the error has a line for each problem, which
// begins with file:line:column. adminToken is what FAIRLEAD_ADMIN_TOKEN would
// add to it; "": nothing.
func Check(file, adminToken string) (summary string, err error) {
	cfg, err := Load(Options{Config: file, AdminToken: adminToken})
	if err != nil {
		return "", err
	}
	parts := []string{listenerSummary("http", cfg.HTTP), listenerSummary("https", cfg.HTTPS), listenerSummary("admin", cfg.Admin)}
	if cfg.TopicsPrefix == "" {
		parts = append(parts, "topics off")
	} else {
		parts = append(parts, "topics at "+cfg.TopicsPrefix)
	}
	parts = append(parts, count(len(cfg.Upstreams), "upstream"), count(len(cfg.Routes), "route"), count(len(cfg.Topics), "topic policy"))
	return strings.Join(parts, ", "), nil
}

func listenerSummary(name, address string) string {
	if address == "" {
		return name + " off"
	}
	return name + " " + address
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}
