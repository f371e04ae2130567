//go:build unix

package listen

import (
	"fmt"
	"os"
	"syscall"
)

// checkFolder fails if another user may put keys into dir, or read those in it.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("other users may write to %s (%v), and so choose the keys: chmod go-w it, or use another folder", dir, mode)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int64(s.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("%s belongs to another user (%d), who may choose the keys: use another folder", dir, s.Uid)
	}
	return nil
}
