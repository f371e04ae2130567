package listen

import "testing"

func TestTheTrustHintIsTheSystems(t *testing.T) {
	for _, c := range []struct{ system, folder, want string }{
		{"darwin", "", "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain '/a b/ca.pem'"},
		{"linux", "/usr/local/share/ca-certificates", "sudo cp '/a b/ca.pem' /usr/local/share/ca-certificates/fairlead.crt && sudo update-ca-certificates"},
		{"linux", "/etc/pki/ca-trust/source/anchors", "sudo cp '/a b/ca.pem' /etc/pki/ca-trust/source/anchors/fairlead.pem && sudo update-ca-trust"},
		{"linux", "/etc/ca-certificates/trust-source/anchors", "sudo cp '/a b/ca.pem' /etc/ca-certificates/trust-source/anchors/fairlead.crt && sudo update-ca-trust"},
		{"windows", "", `certutil -user -addstore Root "/a b/ca.pem"`},
		{"linux", "", "curl --cacert '/a b/ca.pem'; NODE_EXTRA_CA_CERTS='/a b/ca.pem' node"},
	} {
		got := trustHint(c.system, "/a b/ca.pem", func(dir string) bool { return dir == c.folder })
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.system, got, c.want)
		}
	}
	if got := quoted("it's"); got != `'it'\''s'` {
		t.Errorf("quoted: %s", got)
	}
	if got := quoted("/a/b-c_d.pem"); got != "/a/b-c_d.pem" {
		t.Errorf("not quoted: %s", got)
	}
}
