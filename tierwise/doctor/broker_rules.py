"""Rules about mosquitto.conf. Why each is one: docs/security.md, and what was measured on Mosquitto 2.0.11."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from broker.codec import CARRIAGE
from tierwise.doctor.conf import Conf, Listener
from tierwise.doctor.finding import Rules, Told

LARGEST_MESSAGE = max(carriage.limit_bytes for carriage in CARRIAGE.values()) + 1024  # its topic and properties
OLD_TLS = ("tlsv1", "tlsv1.0", "tlsv1.1")
FILES = ("cafile", "certfile", "keyfile", "crlfile")
GLOBAL_FILES = ("plugin", "auth_plugin", "plugin_opt_config_file", "acl_file", "password_file")
PROVISIONED = "Let `tierwise broker provision` and `broker run` write this file"

broker_rules: Rules[Conf] = Rules()


def _reached(conf: Conf) -> Iterator[Listener]:
    return (listener for listener in conf.listeners if not listener.is_local)


@broker_rules.error("anonymous-access")
def anonymous_access(conf: Conf) -> Iterator[Told]:
    """Whoever reaches the port may read and write everything."""
    option = conf.options.get("allow_anonymous")
    if option is not None and option.is_true and not conf.is_local:
        yield Told("clients without an account are let in from other machines", "allow_anonymous false", option.line)


@broker_rules.error("plain-listener")
def plain_listener(conf: Conf) -> Iterator[Told]:
    """What passes can be read and changed on the way."""
    for listener in _reached(conf):
        if not listener.is_tls:
            yield Told(f"{listener} speaks no TLS", "Give it a certificate, or bind it to 127.0.0.1", listener.line)


@broker_rules.error("no-client-certificate")
def no_client_certificate(conf: Conf) -> Iterator[Told]:
    """A client that shows no certificate is nobody in particular."""
    for listener in _reached(conf):
        if listener.is_tls and not listener.says("require_certificate"):
            yield Told(f"{listener} asks for no certificate", "require_certificate true", listener.line)


@broker_rules.error("old-tls")
def old_tls(conf: Conf) -> Iterator[Told]:
    """TLS 1.0 and 1.1 are broken."""
    for listener in conf.listeners:
        option = listener.options.get("tls_version")
        if option is not None and option.value.lower() in OLD_TLS:
            yield Told(f"{listener} takes {option.value}", "tls_version tlsv1.2", option.line)


@broker_rules.error("no-revocation-list")
def no_revocation_list(conf: Conf) -> Iterator[Told]:
    """A stolen certificate stays good until it expires."""
    for listener in conf.listeners:
        if listener.says("require_certificate") and "crlfile" not in listener.options:
            yield Told(f"{listener} knows no revoked certificates", "crlfile crl.pem", listener.line)


@broker_rules.error("name-not-from-certificate")
def name_not_from_certificate(conf: Conf) -> Iterator[Told]:
    """A client with any certificate could call itself what it likes."""
    for listener in conf.listeners:
        named = listener.says("use_identity_as_username") or listener.says("use_subject_as_username")
        if listener.says("require_certificate") and not named:
            yield Told(
                f"{listener} takes the user name that a client gives", "use_identity_as_username true", listener.line
            )


@broker_rules.error("client-id-takeover")
def client_id_takeover(conf: Conf) -> Iterator[Told]:
    """A client that gives another's client id throws that one out and takes its queued messages."""
    for listener in _reached(conf):
        if not listener.says("use_username_as_clientid"):
            yield Told(
                f"{listener} takes the client id that a client gives", "use_username_as_clientid true", listener.line
            )


@broker_rules.error("no-access-rules")
def no_access_rules(conf: Conf) -> Iterator[Told]:
    """Every client may speak in everybody's name."""
    if not conf.is_local and not {"plugin", "auth_plugin", "acl_file"} & conf.options.keys():
        yield Told("there are no access rules", f"{PROVISIONED}: it names the dynamic-security plugin")


@broker_rules.warning("acl-file")
def acl_file(conf: Conf) -> Iterator[Told]:
    """It never refuses a SUBSCRIBE, lets anybody into a $share group, and is deprecated in Mosquitto 2.1."""
    if "acl_file" in conf.options:
        yield Told("acl_file filters what is delivered and refuses no subscription", PROVISIONED, conf.line("acl_file"))


@broker_rules.warning("password-file")
def password_file(conf: Conf) -> Iterator[Told]:
    """Deprecated in Mosquitto 2.1; a password can be copied from a node unnoticed."""
    if "password_file" in conf.options:
        yield Told("accounts are passwords", f"{PROVISIONED}, with certificates", conf.line("password_file"))


@broker_rules.warning("settings-per-listener")
def settings_per_listener(conf: Conf) -> Iterator[Told]:
    """A listener without settings of its own then has no access rules."""
    option = conf.options.get("per_listener_settings")
    if option is not None and option.is_true:
        yield Told("each listener needs rules of its own", "per_listener_settings false", option.line)


@broker_rules.warning("runs-as-root")
def runs_as_root(conf: Conf) -> Iterator[Told]:
    """A hole in the broker is then a hole in the machine."""
    option = conf.options.get("user")
    if option is not None and option.value == "root" and not conf.is_local:
        yield Told("the broker runs as root", "Start it as a user of its own, who owns its folders", option.line)


@broker_rules.error("file-missing")
def file_missing(conf: Conf) -> Iterator[Told]:
    """Mosquitto would not start, or not reload."""
    named = [(key, conf.options[key]) for key in GLOBAL_FILES if key in conf.options]
    named += [(key, found.options[key]) for found in conf.listeners for key in FILES if key in found.options]
    for key, option in named:
        if not Path(option.value).exists():
            yield Told(f"{key} {option.value} is not there", "Name the file that is meant", option.line)


@broker_rules.warning("includes")
def includes(conf: Conf) -> Iterator[Told]:
    """This file alone does not say what is in force."""
    if "include_dir" in conf.options:
        yield Told("other files are read, too, which were not examined", "Name them as well", conf.line("include_dir"))
