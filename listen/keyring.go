package listen

import "crypto/tls"

// Keyring holds the keys of session tickets.
type Keyring struct{}

func (*Keyring) install(*tls.Config) {}
