package listen

import (
	"os"
	"runtime"
	"strings"
)

// TrustHint returns the command that makes this system trust the certificate,
// or what to give to clients where there is no one command. Firefox, and
// Chromium on Linux, have certificates of their own: import CAFile in their
// settings. Programs can be told with curl --cacert FILE, or
// NODE_EXTRA_CA_CERTS=FILE for Node.js.
func (d DevCert) TrustHint() string {
	exists := func(dir string) bool {
		info, err := os.Stat(dir)
		return err == nil && info.IsDir()
	}
	return trustHint(runtime.GOOS, d.CAFile, exists)
}

// trustHint knows the systems; those of Linux are told apart by their folders.
func trustHint(system, file string, exists func(dir string) bool) string {
	const debian, fedora, arch = "/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors", "/etc/ca-certificates/trust-source/anchors"
	if system == "windows" {
		return `certutil -user -addstore Root "` + file + `"`
	}
	file = quoted(file)
	switch {
	case system == "darwin":
		return "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain " + file
	case system == "linux" && exists(debian):
		return "sudo cp " + file + " " + debian + "/fairlead.crt && sudo update-ca-certificates"
	case system == "linux" && exists(fedora):
		return "sudo cp " + file + " " + fedora + "/fairlead.pem && sudo update-ca-trust"
	case system == "linux" && exists(arch):
		return "sudo cp " + file + " " + arch + "/fairlead.crt && sudo update-ca-trust"
	}
	return "curl --cacert " + file + "; NODE_EXTRA_CA_CERTS=" + file + " node"
}

// quoted returns a word for a shell.
func quoted(word string) string {
	plain := func(r rune) bool {
		return !strings.ContainsRune("/._-+=:@%,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if !strings.ContainsFunc(word, plain) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
