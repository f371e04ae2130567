package daemon

import "crypto/tls"

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
	if len(t.Certificates) > 0 && v.cfg.HTTPS == "" && v.read("https") {
		v.reportf("tls.certificates", "tls is for the https listener, which is off; give it an address, like https: \":8443\"")
	}
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
	if _, err := tls.LoadX509KeyPair(c.Cert.file(), c.Key.file()); err != nil {
		v.reportf(at, "the certificate cannot be used: %s", without("tls: ", err))
	}
}
