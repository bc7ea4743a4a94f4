//go:build integration

package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// image is what a Dockerfile makes of a fresh root: scripts that carry out its instructions there,
// and how a container of it runs.
type image struct {
	build      []string // scripts, in order
	user       string
	volumes    []string
	health     []string
	entrypoint []string
	cmd        []string
}

// containerRoot is where the files of the image are.
const containerRoot = "/container"

// readDockerfile knows the instructions that packaging/docker has, with two stages: in the first the fresh root is the
// image, which has Go as this machine has; the second is from scratch.
func readDockerfile(t *testing.T, text string) (m image) {
	t.Helper()
	list := func(text string) (words []string) {
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			t.Errorf("%s: want a list, as there is no shell: %v", text, err)
		}
		return words
	}
	environment, scratch := "set -eu\n", false
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#":
		case "FROM":
			scratch = rest == "scratch"
		case "ARG":
			environment += "export " + rest + "\n"
		case "WORKDIR":
			environment += "mkdir -p " + rest + " && cd " + rest + "\n"
		case "RUN":
			if scratch {
				t.Errorf("RUN where there is no shell: %s", rest)
			}
			m.build = append(m.build, "("+environment+rest+"\n)\n")
		case "COPY":
			m.build = append(m.build, copyInto(t, environment, rest))
		case "USER":
			m.user = rest
		case "VOLUME":
			m.volumes = append(m.volumes, rest)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, "CMD ")
			m.health = list(command)
		case "ENTRYPOINT":
			m.entrypoint = list(rest)
		case "CMD":
			m.cmd = list(rest)
		case "EXPOSE":
		default:
			t.Fatalf("an instruction that this test does not carry out: %s", line)
		}
	}
	return m
}

// copyInto is COPY: of the repository into the first stage, or of the first stage into the second.
func copyInto(t *testing.T, environment, arguments string) string {
	t.Helper()
	if arguments == ". ." {
		return fmt.Sprintf("(%sgit -C %s ls-files -coz --exclude-standard | (cd %[2]s && xargs -0 cp --parents -t /src)\n)\n", environment, harness.Repository(""))
	}
	found := regexp.MustCompile(`^--from=build (?:--chown=(\S+) )?(/\S+/) /$`).FindStringSubmatch(arguments)
	if found == nil {
		t.Fatalf("COPY %s: not a form that this test carries out", arguments)
	}
	owner, from := found[1], found[2]
	if owner == "" {
		owner = "0:0"
	}
	return fmt.Sprintf("mkdir -p %s && chown -R %s %s && cp -a %[3]s. %[1]s\n", containerRoot, owner, from)
}

// enter is a shell function that runs a program in a container as Docker does with --read-only: with
// the image's user, no group but its own, volumes that stay, and the resolv.conf of the host.
func (m image) enter() string {
	var mounts strings.Builder
	for _, v := range m.volumes {
		fmt.Fprintf(&mounts, "mkdir -p /volumes%s && chown --reference=%s%[1]s /volumes%[1]s && mount --bind /volumes%[1]s %[2]s%[1]s\n", v, containerRoot)
	}
	uid, gid, _ := strings.Cut(m.user, ":")
	return fmt.Sprintf(`enter() {
	unshare --mount sh -euc '
		mount --bind %[1]s %[1]s
		: >>%[1]s/etc/resolv.conf && mount --bind /etc/resolv.conf %[1]s/etc/resolv.conf
		mount -o remount,bind,ro %[1]s
		%[2]s
		exec env -i PATH="$PATH" setpriv --no-new-privs chroot --userspec=%[3]s:%[4]s --groups=%[4]s %[1]s "$@"
	' - "$@"
}
`, containerRoot, mounts.String(), uid, gid)
}

// TestContainerOfDockerfile carries out packaging/docker/Dockerfile, and has Postfix use the container as compose.yaml says.
func TestContainerOfDockerfile(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(harness.Repository("packaging/docker/" + name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	dkimd := readDockerfile(t, read("Dockerfile"))
	f := harness.NewFreshRoot(t)
	run := func(script string) string {
		out, err := f.Run(t, script)
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", script, err, out, f.Process.Log)
		}
		return out
	}
	for _, script := range dkimd.build {
		run(script)
	}
	if dkimd.user == "" || strings.HasPrefix(dkimd.user, "0") || strings.HasPrefix(dkimd.user, "root") {
		t.Errorf("USER %s", dkimd.user)
	}
	run(dkimd.enter() + "enter " + strings.Join(append(dkimd.entrypoint, dkimd.cmd...), " ") + " >/var/log/records 2>/var/log/messages &\n")
	health := func() string {
		return run("enter " + strings.Join(dkimd.health, " ") + " >/dev/null 2>&1 && echo healthy || echo unhealthy\n")
	}
	readyz := func() string { return run("curl -so /dev/null -w '%{http_code}\\n' http://127.0.0.1:9891/readyz\n") }
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dkimd: %s", f.Read(t, "/var/log/messages"))
		}
	})
	harness.Eventually(t, harness.WaitLimit, "the container is healthy", func() bool { return health() == "healthy\n" })
	if got := readyz(); got != "200\n" {
		t.Errorf("/readyz of a healthy container: %s", got)
	}

	_, postfix, _ := strings.Cut(read("compose.yaml"), "dockerfile_inline: |\n")
	settings := regexp.MustCompile(`(?m)^\s*RUN (postconf .*)$`).FindAllStringSubmatch(postfix, -1)
	if len(settings) < 3 {
		t.Fatalf("compose.yaml sets Postfix up with %q", settings)
	}
	run("echo '127.0.0.1 dkimd' >>/etc/hosts\n")
	for _, s := range settings {
		run(strings.Replace(s[1], "/dev/stdout", "/var/log/mail.log", 1) + "\n")
	}
	// A reload is done some time after the command: until then a busy Postfix still makes servers in its chroot, which do not know the name.
	run("postfix stop && postfix start\n")
	harness.Eventually(t, harness.WaitLimit, "a record of Postfix's mail", func() bool {
		outside := f.Dial(t, harness.OutsideAddress, harness.RootAddress)
		defer outside.HangUp()
		got := outside.Send("bob@theirs.example", "root@example.org", harness.NewMail("bob@theirs.example", "to a container").Bytes())
		return got.Code == 250 && strings.Contains(f.Read(t, "/var/log/records"), `"bob@theirs.example"`)
	})
	harness.Eventually(t, harness.WaitLimit, "mail with results", func() bool {
		return strings.Contains(f.Read(t, "/var/mail/root"), "\nAuthentication-Results: mail.example.org;")
	})

	run("echo '[sign]\nheaders = 3' >>" + containerRoot + "/etc/dkimd/dkimd.toml\nenter /usr/bin/dkimd reload >/dev/null 2>&1 || true\n")
	if got := health() + readyz(); got != "unhealthy\n503\n" {
		t.Errorf("after a reload that was refused: %s", got)
	}
	if out := run("pid=$(pgrep -x dkimd); grep -c '^Uid:.65532.65532.65532.65532$' /proc/$pid/status; kill $pid; wait && echo ended\n"); out != "1\nended\n" {
		t.Errorf("its user, and its end: %q", out)
	}
}
