//go:build !linux

package listen

func (*tcpConn) path() (Path, bool) { return Path{}, false }
