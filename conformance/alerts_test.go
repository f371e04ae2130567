package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promtool returns Prometheus's own.
func promtool(t *testing.T) string {
	t.Helper()
	if own, err := filepath.Abs("../.tools/promtool"); err == nil {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	found, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("ci/tools installs promtool: %v", err)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPrometheusUnderstandsTheAlertsAndTheyFireWhenTheyShould(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "../deploy/alerts.yml"}, {"test", "rules", "../deploy/alerts_test.yml"}} {
		if out, err := exec.Command(promtool(t), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestAlertsAskForMetricsThatAreAndLeadToWhatToDo(t *testing.T) {
	alerts, table, runbook := read(t, "../deploy/alerts.yml"), read(t, "../docs/metrics.md"), read(t, "../docs/operations.md")
	for _, name := range regexp.MustCompile(`fairlead_[a-z0-9_]+`).FindAllString(alerts, -1) {
		name = strings.TrimSuffix(name, "_bucket")
		if !strings.Contains(table, "| `"+name+"` |") {
			t.Errorf("there is no metric %s", name)
		}
	}
	anchors := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(runbook, -1) {
		anchors[strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	links := regexp.MustCompile(`action: docs/operations\.md#(\S+)`).FindAllStringSubmatch(alerts, -1)
	if rules := strings.Count(alerts, "- alert:"); len(links) != rules || rules == 0 {
		t.Errorf("%d rules have %d links", rules, len(links))
	}
	for _, link := range links {
		if !anchors[link[1]] {
			t.Errorf("the runbook has no section %s", link[1])
		}
	}
}
