//go:build unix

package daemon_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestWithoutAHomeTheCertificateForDevelopmentIsInAFolderOfItsOwn(t *testing.T) {
	shared := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("TMPDIR", shared)
	known := filepath.Join(shared, "fairlead")
	if err := os.Mkdir(known, 0o700); err != nil { // by whoever came first
		t.Fatal(err)
	}
	free, off := "127.0.0.1:0", ""
	p := startAs(t, daemon.Options{HTTP: &off, HTTPS: &free, Admin: &off})
	if made, err := filepath.Glob(filepath.Join(shared, "fairlead-*", "ca.key")); len(made) != 1 {
		t.Errorf("made %v, %v", made, err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.log.String(), "will not be found by the next start") {
		t.Error("the log does not say that it is not remembered")
	}
	if there, _ := os.ReadDir(known); len(there) != 0 {
		t.Errorf("the folder with a known name has %v", there)
	}
}

func TestACertificateForDevelopmentIsRefusedWhereOthersMayWrite(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	config, err := os.UserConfigDir()
	folder := filepath.Join(config, "fairlead")
	if err := errors.Join(err, os.MkdirAll(folder, 0o700), os.Chmod(folder, 0o777)); err != nil { //nolint:gosec // it is refused
		t.Fatal(err)
	}
	free, off := "127.0.0.1:0", ""
	err = daemon.Run(t.Context(), daemon.Options{HTTP: &off, HTTPS: &free, Admin: &off}, daemon.Process{Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "other users may write to "+folder) || !strings.Contains(err.Error(), "set tls.certificates") {
		t.Errorf("got %v", err)
	}
}
