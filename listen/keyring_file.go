package listen

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// maxSecrets bounds the lines of a key file, and with them what a handshake's
// ticket may be sealed with.
const maxSecrets = 16

func readKeyFile(file string) ([][]byte, error) {
	text, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("listen: key file: %w", err)
	}
	shared, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("listen: key file: %s: %w", file, err)
	}
	return shared, nil
}

// parseKeys reads the lines of a key file. No error holds what a line does.
func parseKeys(text []byte) ([][]byte, error) {
	var all [][]byte
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		secret, ok := decodeKey(string(line))
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: neither hex nor base64: write what openssl rand -hex 32 prints", n)
		case len(secret) < secretSize:
			return nil, fmt.Errorf("line %d: %d bytes, of at least %d: write what openssl rand -hex 32 prints", n, len(secret), secretSize)
		case len(all) == maxSecrets:
			return nil, fmt.Errorf("line %d: more than %d secrets: remove the oldest", n, maxSecrets)
		}
		all = append(all, secret)
	}
	if len(all) == 0 {
		return nil, errors.New("no secret is in it: write what openssl rand -hex 32 prints")
	}
	return all, nil
}

func decodeKey(line string) ([]byte, bool) {
	if secret, err := hex.DecodeString(line); err == nil {
		return secret, true
	}
	for _, coding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if secret, err := coding.DecodeString(line); err == nil {
			return secret, true
		}
	}
	return nil, false
}

// openToOthers says so if others than the owner can read the file.
func openToOthers(file string) []string {
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("listen: key file: %s: others can read it, and open what was recorded: chmod 600 %s", file, file)}
}
