//! The Dockerfile, compose.yaml and the manifests for Kubernetes.

use std::collections::BTreeSet;
use std::path::Path;

use crossfade::config::Config;
use serde_yaml::Value;

use super::{at, documents, image, list, run_as_container, text, variables};
use crate::support::process::PROGRAM;
use crate::support::{Target, World, certificate};

const MANIFESTS: [&str; 2] = ["deploy/kubernetes/sidecar.yaml", "deploy/kubernetes/shared.yaml"];
const COMPOSE: &str = "deploy/compose.yaml";
/// Longest that a sidecar takes to end, as `limits.shutdown` is by default.
const SHUTDOWN_SECONDS: u64 = 30;

fn compose() -> Value {
    documents(COMPOSE).remove(0)
}

/// As compose hands it on: `$$` is its way to write `$`.
pub(super) fn composed(config: &str) -> String {
    text(&compose(), &["configs", config, "content"]).replace("$$", "$")
}

#[tokio::test]
async fn the_image_runs_with_the_configuration_of_compose() {
    let compose = compose();
    let service = at(&compose, &["services", "crossfade"]);
    let environment = at(service, &["environment"]).as_mapping().unwrap();
    let given: Vec<&str> = environment.keys().map(|key| key.as_str().unwrap()).collect();
    let config = composed("proxy");
    assert_eq!(variables(&config), given.iter().map(|name| (*name).to_owned()).collect());
    let target = text(service, &["configs", "0", "target"]);
    let dockerfile = super::read("deploy/Dockerfile");
    assert!(dockerfile.contains(&format!("ENV CROSSFADE_CONFIG={target}\n")), "{target}");
    assert!(dockerfile.contains("\nEXPOSE 6432 9100\n"));
    let grace = text(service, &["stop_grace_period"]).trim_end_matches('s');
    assert!(SHUTDOWN_SECONDS < grace.parse().unwrap());
    let world = World::bare(Target::MariaDb, "").await;
    run_as_container(&world, "compose", &config, &given).await;
}

#[test]
fn what_compose_starts_finds_what_it_needs() {
    let compose = compose();
    for (name, service) in at(&compose, &["services"]).as_mapping().unwrap() {
        let fields: BTreeSet<&str> =
            service.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap()).collect();
        let known = [
            "build",
            "cap_drop",
            "configs",
            "depends_on",
            "environment",
            "healthcheck",
            "image",
            "ports",
            "read_only",
            "restart",
            "security_opt",
            "stop_grace_period",
            "volumes",
        ];
        assert!(fields.iter().all(|field| known.contains(field)), "{name:?}: {fields:?}");
        for config in list(service.get("configs").unwrap_or(&Value::Null)) {
            at(&compose, &["configs", text(config, &["source"])]);
        }
        for volume in list(service.get("volumes").unwrap_or(&Value::Null)) {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(file) => assert!(Path::new("deploy").join(file).exists(), "no {source}"),
                None => drop(at(&compose, &["volumes", source])),
            }
        }
        for port in list(service.get("ports").unwrap_or(&Value::Null)) {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name:?}: {port:?}");
        }
    }
    for config in ["prometheus", "datasource", "dashboards"] {
        let parsed: Value = serde_yaml::from_str(&composed(config)).unwrap();
        assert!(parsed.is_mapping(), "{config}");
    }
}

#[test]
fn the_manifests_have_no_field_that_kubernetes_does_not_know() {
    let shapes = documents("tests/deploy/shapes.yaml").remove(0);
    for file in MANIFESTS {
        for document in documents(file) {
            let kind = text(&document, &["kind"]);
            let mut wrong = Vec::new();
            fits(&document, at(&shapes, &[kind]), &shapes, kind, &mut wrong);
            assert!(wrong.is_empty(), "{file}: {wrong:#?}");
        }
    }
}

fn fits(value: &Value, shape: &Value, shapes: &Value, way: &str, wrong: &mut Vec<String>) {
    match (shape, value) {
        (Value::String(word), value) => {
            let good = match (word.as_str(), value) {
                ("any", _) => true,
                ("string", value) => value.is_string(),
                ("number", value) => value.is_u64(),
                ("bool", value) => value.is_bool(),
                (name, value) if shapes.get(name).is_some() && !value.is_string() => {
                    return fits(value, &shapes[name], shapes, way, wrong);
                }
                (constant, value) => value.as_str() == Some(constant),
            };
            if !good {
                wrong.push(format!("{way} is no {word}: {value:?}"));
            }
        }
        (Value::Sequence(shape), Value::Sequence(items)) => {
            for (number, item) in items.iter().enumerate() {
                fits(item, &shape[0], shapes, &format!("{way}[{number}]"), wrong);
            }
        }
        (Value::Mapping(shape), Value::Mapping(fields)) => {
            for (key, value) in fields {
                let key = key.as_str().unwrap();
                match shape.get(key) {
                    Some(shape) => fits(value, shape, shapes, &format!("{way}.{key}"), wrong),
                    None => wrong.push(format!("{way} has an unknown field {key}")),
                }
            }
        }
        _ => wrong.push(format!("{way} has the wrong form: {value:?}")),
    }
}

/// The documents of one file, by kind.
struct Manifest {
    file: &'static str,
    documents: Vec<Value>,
}

impl Manifest {
    fn read(file: &'static str) -> Self {
        Self { file, documents: documents(file) }
    }

    #[track_caller]
    fn of(&self, kind: &str) -> &Value {
        let found = self.documents.iter().find(|one| one["kind"] == kind);
        found.unwrap_or_else(|| panic!("{}: no {kind}", self.file))
    }

    fn pod(&self) -> &Value {
        at(self.of("Deployment"), &["spec", "template", "spec"])
    }

    fn sidecar(&self) -> &Value {
        let pod = self.pod();
        let containers = ["initContainers", "containers"].map(|field| &pod[field]);
        let mut all = containers.into_iter().flat_map(list);
        all.find(|one| one["name"] == "crossfade").unwrap()
    }

    fn config(&self) -> &str {
        text(self.of("ConfigMap"), &["data", "proxy.yaml"])
    }

    fn secrets(&self) -> BTreeSet<String> {
        let data = at(self.of("Secret"), &["stringData"]).as_mapping().unwrap();
        data.keys().map(|key| key.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_image_runs_with_the_configuration_of_the_manifests() {
    let world = World::bare(Target::MariaDb, "").await;
    let directory = super::Directory::new("manifest-tls");
    certificate::issue(&directory.0);
    for file in MANIFESTS {
        let manifest = Manifest::read(file);
        let config = manifest.config();
        assert_eq!(variables(config), manifest.secrets(), "{file}");
        let place = |name: &str| directory.0.join(name).display().to_string();
        let config = config
            .replace("/etc/crossfade-tls/tls.crt", &place(certificate::CERT))
            .replace("/etc/crossfade-tls/tls.key", &place(certificate::KEY));
        let secrets = manifest.secrets();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        run_as_container(&world, "kubernetes", &config, &secrets).await;
    }
}

#[test]
fn the_pods_belong_together_and_fit_the_image() {
    let dockerfile = super::read("deploy/Dockerfile");
    for file in MANIFESTS {
        let manifest = Manifest::read(file);
        let (pod, sidecar) = (manifest.pod(), manifest.sidecar());
        let arguments: Vec<&str> =
            list(&sidecar["args"]).iter().map(|one| one.as_str().unwrap()).collect();
        assert_eq!(arguments, image().1, "{file}");
        let user = at(sidecar, &["securityContext", "runAsUser"]).as_u64().unwrap();
        assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")), "{file}: {user}");
        let labels = at(manifest.of("Deployment"), &["spec", "template", "metadata", "labels"]);
        let matched = at(manifest.of("Deployment"), &["spec", "selector", "matchLabels"]);
        for selector in
            [matched, at(manifest.of("NetworkPolicy"), &["spec", "podSelector", "matchLabels"])]
        {
            for (key, value) in selector.as_mapping().unwrap() {
                assert_eq!(labels.get(key), Some(value), "{file}: {key:?}");
            }
        }
        let stop = sidecar.get("lifecycle").map_or(0, |lifecycle| {
            text(lifecycle, &["preStop", "exec", "command", "1"]).parse().unwrap()
        });
        let grace = at(pod, &["terminationGracePeriodSeconds"]).as_u64().unwrap();
        assert!(SHUTDOWN_SECONDS + stop < grace, "{file}: it is killed while it ends");
        for mount in list(&sidecar["volumeMounts"]) {
            let name = &mount["name"];
            let volume = list(&pod["volumes"]).iter().find(|volume| volume["name"] == *name);
            assert!(volume.is_some(), "{file}: no volume {name:?}");
        }
        assert!(list(&sidecar["volumeMounts"]).iter().any(|mount| {
            dockerfile
                .contains(&format!("CROSSFADE_CONFIG={}/proxy.yaml", text(mount, &["mountPath"])))
        }));
    }
}

/// Ports that probes, Services and policies name are those that proxy.yaml listens on.
#[test]
fn the_ports_and_the_probes_are_those_of_the_program() {
    for file in MANIFESTS {
        let manifest = Manifest::read(file);
        // What is no port does not matter here.
        let config = manifest.config().replace("/etc/crossfade-tls/tls", "/nowhere/tls");
        let config =
            config.lines().filter(|line| !line.contains("tls:")).collect::<Vec<_>>().join("\n");
        let config = Config::parse(&config, file, Path::new(""), &|_| Some("x".to_owned()));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let sidecar = manifest.sidecar();
        let ports: Vec<(&str, u64)> = list(&sidecar["ports"])
            .iter()
            .map(|port| (text(port, &["name"]), port["containerPort"].as_u64().unwrap()))
            .collect();
        assert!(
            ports.contains(&("admin", config.admin.address.port().into())),
            "{file}: {ports:?}"
        );
        assert!(!config.admin.address.ip().is_loopback(), "{file}: probes come from outside");
        assert!(config.admin.token.is_some(), "{file}: anybody may POST");
        for (probe, path) in [
            ("startupProbe", "/health/liveness"),
            ("livenessProbe", "/health/liveness"),
            ("readinessProbe", "/health/readiness"),
        ] {
            assert_eq!(text(sidecar, &[probe, "httpGet", "path"]), path, "{file}");
            assert_eq!(text(sidecar, &[probe, "httpGet", "port"]), "admin", "{file}");
        }
        let policy = at(manifest.of("NetworkPolicy"), &["spec"]);
        let egress: Vec<u64> = list(&policy["egress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
            .map(|port| port["port"].as_u64().unwrap())
            .collect();
        for needed in [config.from.port, config.to.port, 53] {
            assert!(egress.contains(&needed.into()), "{file}: it may not reach port {needed}");
        }
        let shared = manifest.documents.iter().find(|one| one["kind"] == "Service");
        if let Some(service) = shared {
            let target = text(service, &["spec", "ports", "0", "targetPort"]);
            assert!(ports.contains(&(target, 6432)), "{file}: {ports:?}");
            assert!(config.listen.address.to_string().ends_with(":6432"));
        }
    }
}

#[test]
fn the_program_knows_the_arguments_of_every_manifest() {
    let mut command = std::process::Command::new(PROGRAM);
    let output = command.args(image().1).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
