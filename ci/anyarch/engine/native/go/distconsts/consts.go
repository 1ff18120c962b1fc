// Package distconsts stands in for the constants of Dagger's engine image, which is published nowhere as a module.
//
// The image's paths (/usr/local/bin, /var/lib/dagger …) become one private prefix: the directory above the
// running program's own, so that an engine installed anywhere finds its helpers and touches nothing else.
package distconsts

import (
	"os"
	"path/filepath"
)

// Names that Dagger declares as constants of its own must stay constants here.
const (
	EngineContainerName    = "dagger-engine.dev"
	DefaultEngineSockAddr  = "unix:///run/dagger/engine.sock"
	EngineCustomCACertsDir = "/usr/local/share/ca-certificates"

	GoSDKManifestDigestEnvName         = "DAGGER_GO_SDK_MANIFEST_DIGEST"
	PythonSDKManifestDigestEnvName     = "DAGGER_PYTHON_SDK_MANIFEST_DIGEST"
	TypescriptSDKManifestDigestEnvName = "DAGGER_TYPESCRIPT_SDK_MANIFEST_DIGEST"

	OCIVersionAnnotation = "org.opencontainers.image.version"

	AlpineVersion  = "3.22.1"
	AlpineImage    = "alpine:" + AlpineVersion
	GolangVersion  = "1.26"
	GolangImage    = "golang:" + GolangVersion + "-alpine"
	BusyboxVersion = "1.37.0"
	BusyboxImage   = "busybox:" + BusyboxVersion
)

var (
	prefix = installPrefix()

	RuncPath                         = filepath.Join(prefix, "bin", "runc")
	DaggerInitPath                   = filepath.Join(prefix, "bin", "dagger-init")
	TiniPath                         = filepath.Join(prefix, "bin", "tini")
	EngineDefaultStateDir            = filepath.Join(prefix, "state")
	EngineContainerBuiltinContentDir = filepath.Join(prefix, "content")
)

func installPrefix() string {
	program, err := os.Executable()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Dir(filepath.Dir(program))
}
