// Package daemon is the program: it reads a configuration, wires the rooms
// into two handlers, public and admin, and runs them until it has drained.
//
// build.go is the map of the request path; run.go owns the listeners and every
// goroutine; drain.go and reload.go are what signals do. [Run] is called by
// cmd/fairlead and by tests; [Load] and [Check] read a configuration alone.
package daemon
