//go:build unix

package listen_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/listen"
)

func TestADevelopmentCertificateIsNotMadeWhereOthersMayWrite(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o777, 0o1777, 0o770, 0o702} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := listen.Development(dir); err == nil || !strings.Contains(err.Error(), "other users may write to "+dir) {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if made, _ := os.ReadDir(dir); len(made) != 0 {
		t.Errorf("it has %v", made)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // what a folder usually is
		t.Fatal(err)
	}
	develop(t, dir)
}

func TestADevelopmentCertificateIsNotTakenFromAnotherUser(t *testing.T) {
	other := "/" // of root
	if os.Geteuid() == 0 {
		other = filepath.Join(t.TempDir(), "other")
		if err := os.Mkdir(other, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(other, 65534, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := listen.Development(other); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("got %v", err)
	}
}
