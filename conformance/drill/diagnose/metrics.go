package diagnose

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Metrics are the samples of a scrape, by their names. Those of a histogram have the
// names that the text format gives them: NAME_bucket, NAME_sum, NAME_count.
type Metrics map[string][]Sample

// Sample is one value.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// maxLine bounds a line of a scrape, in bytes.
const maxLine = 64 << 10

// ParseMetrics reads the text format of Prometheus, version 0.0.4. Timestamps are
// read over.
func ParseMetrics(r io.Reader) (Metrics, error) {
	m := make(Metrics)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("diagnose: metrics: line %d: %w", number, err)
		}
		m[name] = append(m[name], s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("diagnose: metrics: %w", err)
	}
	return m, nil
}

func parseSample(line string) (name string, s Sample, err error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return "", s, fmt.Errorf("%.60q has no name or no value", line)
	}
	name, rest := line[:end], line[end:]
	if rest[0] == '{' {
		if s.Labels, rest, err = parseLabels(rest[1:]); err != nil {
			return "", s, err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return "", s, fmt.Errorf("%.60q has no value", line)
	}
	if s.Value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return "", s, fmt.Errorf("%.60q is no number", fields[0])
	}
	return name, s, nil
}

// parseLabels reads what follows the opening brace, and returns what follows the
// closing one.
func parseLabels(text string) (labels map[string]string, rest string, err error) {
	labels = make(map[string]string)
	for {
		text = strings.TrimLeft(text, ", \t")
		if rest, ok := strings.CutPrefix(text, "}"); ok {
			return labels, rest, nil
		}
		name, value, ok := strings.Cut(text, `="`)
		if !ok {
			return nil, "", fmt.Errorf("%.60q is no label", text)
		}
		var b strings.Builder
		closed := false
		for i := 0; i < len(value) && !closed; i++ {
			switch c := value[i]; {
			case c == '"':
				closed, text = true, value[i+1:]
			case c == '\\' && i+1 < len(value):
				i++
				if value[i] == 'n' {
					b.WriteByte('\n')
				} else {
					b.WriteByte(value[i])
				}
			default:
				b.WriteByte(c)
			}
		}
		if !closed {
			return nil, "", fmt.Errorf("the value of the label %.60q does not end", name)
		}
		labels[strings.TrimSpace(name)] = b.String()
	}
}

// has reports whether the labels, in pairs of name and value, are the sample's.
func (s Sample) has(labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if s.Labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// Sum adds up the samples of a name that have the labels, given in pairs of name and
// value.
func (m Metrics) Sum(name string, labels ...string) (sum float64) {
	for _, s := range m[name] {
		if s.has(labels) {
			sum += s.Value
		}
	}
	return sum
}

// Below adds up what a histogram has counted in the buckets up to the widest whose
// bound is at most the one given.
func (m Metrics) Below(name string, bound float64, labels ...string) (sum float64) {
	// The counts of each series rise with its bounds.
	series := make(map[string]float64)
	for _, s := range m[name+"_bucket"] {
		le, err := strconv.ParseFloat(s.Labels["le"], 64)
		if err != nil || le > bound || !s.has(labels) {
			continue
		}
		key := s.key()
		series[key] = max(series[key], s.Value)
	}
	for _, n := range series {
		sum += n
	}
	return sum
}
