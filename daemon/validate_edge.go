package daemon

import "github.com/fairlead-edge/fairlead/listen"

// edge looks at what the listeners are made from.
func (v *validator) edge() {
	t := &v.cfg.TLS
	for i, c := range t.Certificates {
		at := index("tls.certificates", i)
		switch {
		case !v.read(at+".cert") || !v.read(at+".key"):
		case c.Cert.Name == "" || c.Key.Name == "":
			v.reportf(at, "a certificate needs both its file and its key's, like {cert: c.pem, key: k.pem}")
		default:
			v.certificate(at, c)
		}
	}
	switch _, err := t.clientCAs(); {
	case err != nil:
		v.reportf("tls.client_ca", "%s", err)
	case t.RequireClient && t.ClientCA.File == "" && v.read("tls.client_ca"):
		v.reportf("tls.require_client", "whose certificates are accepted is not said; set tls.client_ca")
	}
	if file := t.TicketKeys.file(); file != "" {
		if _, err := listen.LoadKeyring(file); err != nil {
			v.reportf("tls.ticket_keys", "%s", without("listen: ", err))
		}
	}
	if len(t.Certificates) > 0 && v.cfg.HTTPS == "" && v.read("https") {
		v.reportf("tls.certificates", "tls is for the https listener, which is off; give it an address, like https: \":8443\"")
	}
	if p := v.cfg.HTTP3.Port; p < 0 || p > 65535 {
		v.reportf("http3.port", "%d is no port; want one from 1 to 65535, or 0 for that of https", p)
	}
	if h := v.cfg.HTTP3; h.WebSocket && !h.Enabled && v.read("http3.enabled") {
		v.reportf("http3.websocket", "WebSockets over HTTP/3 need it: set http3.enabled to true")
	}
	for i := range v.cfg.Routes {
		if v.cfg.Routes[i].EarlyData && (v.cfg.HTTPS == "" || !v.cfg.HTTP3.Enabled) && v.read("https") && v.read("http3") {
			v.reportf(index("routes", i)+".early_data", "early data comes over HTTP/3 alone, which is off; give https an address, and leave http3 on")
		}
	}
	v.coding()
	l := &v.cfg.Limits
	v.positive("limits.requests_per_connection", int64(l.RequestsPerConnection))
	for path, n := range map[string]int{
		"limits.connections": l.Connections, "limits.connections_per_address": l.ConnectionsPerAddress, "limits.connection_rate": l.ConnectionRate,
	} {
		if n < 0 {
			v.reportf(path, "%s is negative; 0 is no bound", lastKey(path))
		}
	}
	if l.Header < 4<<10 || l.Header > 16<<20 {
		v.reportf("limits.header", "a header of %s: want from 4KiB, what browsers send, to 16MiB", l.Header)
	}
}

// certificate reads a pair, which is read again when it is served.
func (v *validator) certificate(at string, c Certificate) {
	if _, err := listen.LoadCertificates([]listen.Pair{{Cert: c.Cert.file(), Key: c.Key.file()}}); err != nil {
		v.reportf(at, "%s", without("listen: ", err))
	}
}

func (v *validator) coding() {
	c := &v.cfg.Compress
	if c.Prefer == PreferAsEverywhere && v.read("compress.prefer") {
		v.reportf("compress.prefer", "say what to prefer: speed, size or off")
	}
	if _, err := c.newDictionary(c.Dictionary, v.cfg.TopicsPrefix+anyOne); err != nil && v.read("topics_prefix") {
		v.reportf("compress.dictionary", "%s", without("compress: ", err))
	}
	for i := range v.cfg.Routes {
		r, at := &v.cfg.Routes[i], index("routes", i)
		if _, err := c.newDictionary(r.Compress.Dictionary, urlPattern(r.Path)); err != nil && v.read(at+".path") {
			v.reportf(at+".compress.dictionary", "%s", without("compress: ", err))
		}
	}
	if c.Memory < 1<<20 {
		v.reportf("compress.memory", "%s is less than one coder holds; want 1MiB or more, or prefer: off", c.Memory)
	}
}
