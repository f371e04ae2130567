package listen

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheKeysOfQUICStayWithTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(file, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := LoadKeyring(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := LoadKeyring(file)
		if err != nil {
			t.Fatal(err)
		}
		random := NewKeyring()
		imported, err := ImportKeyring(random.Export())
		if err != nil {
			t.Fatal(err)
		}
		other := NewKeyring()
		reset, token := random.statelessReset(), random.token()
		time.Sleep(48 * time.Hour)
		random.current()
		switch {
		case a.statelessReset() != b.statelessReset() || a.token() != b.token():
			t.Error("servers with the same file differ")
		case imported.statelessReset() != reset || imported.token() != token || random.statelessReset() != reset || random.token() != token:
			t.Error("they changed")
		case other.statelessReset() == reset || reset == token || a.statelessReset() == a.token():
			t.Error("they are the same where they must not be")
		}
	})
}

func TestAServerWhoseClockIsAheadIsUnderstood(t *testing.T) {
	s := &secrets{Shared: [][]byte{bytes.Repeat([]byte{1}, secretSize)}}
	now := newRing(100, s)
	for epoch, want := range map[int64]bool{98: false, 99: true, 100: true, 101: true, 102: false} {
		if got := now.open(newRing(epoch, s).seal([]byte("state"))); (string(got) == "state") != want {
			t.Errorf("epoch %d: %q", epoch-100, got)
		}
	}
}

func TestAChangedTicketOpensNothing(t *testing.T) {
	k := NewKeyring()
	ticket := k.current().seal([]byte("state"))
	for i := range ticket {
		changed := bytes.Clone(ticket)
		changed[i] ^= 1
		if session, err := k.unwrap(changed, tls.ConnectionState{}); session != nil || err != nil {
			t.Errorf("byte %d: %v, %v", i, session, err)
		}
		if session, err := k.unwrap(ticket[:i], tls.ConnectionState{}); session != nil || err != nil {
			t.Errorf("%d bytes: %v, %v", i, session, err)
		}
	}
	// What opens and is no session is one of another version.
	if session, err := k.unwrap(ticket, tls.ConnectionState{}); session != nil || err != nil {
		t.Errorf("no session: %v, %v", session, err)
	}
}

func TestALineOfAKeyFileIsHexOrBase64(t *testing.T) {
	secret := make([]byte, 48)
	for i := range secret {
		secret[i] = byte(200 + i)
	}
	text := strings.Join([]string{
		"# first", hex.EncodeToString(secret), "", "  " + base64.StdEncoding.EncodeToString(secret[:32]) + "\r",
		base64.RawURLEncoding.EncodeToString(secret[:32]), strings.ToUpper(hex.EncodeToString(secret[:32])),
	}, "\n")
	all, err := parseKeys([]byte(text))
	if err != nil || len(all) != 4 || !bytes.Equal(all[0], secret) {
		t.Fatalf("%d secrets, %v", len(all), err)
	}
	for _, got := range all[1:] {
		if !bytes.Equal(got, secret[:32]) {
			t.Errorf("got %x", got)
		}
	}
	for text, want := range map[string]string{
		"":              "no secret is in it",
		"\n# none\n":    "no secret is in it",
		"\nabcd":        "line 2: 2 bytes, of at least 32",
		"not a secret!": "line 1: neither hex nor base64",
		strings.Repeat(hex.EncodeToString(secret)+"\n", 17): "line 17: more than 16 secrets",
	} {
		if _, err := parseKeys([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

func TestARingWithoutAFileHasNothingToReload(t *testing.T) {
	if err := NewKeyring().Reload(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadKeyring(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("# c\n" + strings.Repeat("ab", 32) + "\n"))
	f.Add([]byte(strings.Repeat("A", 43) + "=\r\n\r\n"))
	f.Add([]byte("abc\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseKeys(text)
		if (err == nil) != (len(all) > 0) || len(all) > maxSecrets {
			t.Errorf("%d secrets, %v", len(all), err)
		}
		for _, secret := range all {
			if len(secret) < secretSize {
				t.Errorf("%d bytes", len(secret))
			}
		}
	})
}

func FuzzTicket(f *testing.F) {
	r := newRing(1, &secrets{Shared: [][]byte{bytes.Repeat([]byte{1}, secretSize)}})
	f.Add(r.seal([]byte("state")))
	f.Add(r.with.id[:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ticket []byte) {
		if state := r.open(ticket); state != nil && string(state) != "state" {
			t.Errorf("opened to %q", state)
		}
	})
}

func BenchmarkTicket(b *testing.B) {
	k := NewKeyring()
	state := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if k.current().open(k.current().seal(state)) == nil {
			b.Fatal("not opened")
		}
	}
}
