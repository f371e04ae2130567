// Command fan measures how Fairlead delivers: what an idle subscriber holds,
// what a delivery costs, and what slow readers cost the others, beside a loop of
// raw write(2) calls that sends as many bytes to as many connections.
//
// The processes are: this one, which publishes and prints; the server, which is
// `fairlead serve` with testdata/probe.go built in, to ask it for its memory; the
// floor, which is the loop; the loads, which hold the subscribers; and the origin, to
// which requests are forwarded and spans are sent. The CPU
// time of a process is what its threads ran by /proc/PID/task/*/schedstat.
// Server and floor take turns in the same run, and the ratio that is printed is
// the median of the turns'. All of it is on loopback.
package main
