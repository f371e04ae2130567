// Package xconnect turns on extended CONNECT (RFC 8441) in net/http's HTTP/2,
// which carries WebSockets. It is to be imported for that effect, by a program
// and not by a library: from then on browsers open every WebSocket to an origin
// on the HTTP/2 connection that they have, so that each handler of the program
// has to understand it.
//
// The switch is http2xconnect=1 in the environment variable GODEBUG, and
// net/http reads it when it is initialised: later is too late, and a go:debug
// directive is refused, since the setting is not one of the language's. Go
// initialises packages whose imports are ready in the order of their paths, so
// this one comes before net/http by two means, neither of which may be changed:
// it imports nothing but syscall, and its path sorts before golang.org and
// net/http. A test looks at the SETTINGS of a real server.
package xconnect

import "syscall"

const setting = "http2xconnect"

func init() { //nolint:gochecknoinits // the package is this effect
	value, _ := syscall.Getenv("GODEBUG")
	if mentions(value) {
		return // the operator has decided
	}
	if value != "" {
		value += ","
	}
	// The name is valid, and there is no other reason to fail.
	_ = syscall.Setenv("GODEBUG", value+setting+"=1")
}

// mentions reports whether the settings of GODEBUG have ours. Package strings
// would be another import to wait for.
func mentions(value string) bool {
	for i := 0; i+len(setting) <= len(value); i++ {
		if value[i:i+len(setting)] == setting {
			return true
		}
	}
	return false
}
