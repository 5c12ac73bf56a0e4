"""Events as bytes: permanent names, JSON, and upcasts from shapes that are no longer written.

``NAMES`` is the closed list of what the log may hold. A stored name is never taken away or given to
another shape. When a shape must change: give the new class a new name here, and add an ``Upcast``
from the old name, with the golden JSON of both.

**Personal fields.** What the domain marks (``domain.personal``) is stored encrypted. Its own place
holds ``SEALED``, and the event has one more member, which plain decoders pass over::

    "sealed": {"keys": {key id: commitment}, "texts": {key id: [paths, nonce and ciphertext]}}

Paths are those of the shape that was stored (``reporter.name``, ``parts.0.name``), bytes Base64. In
the ciphertext is a JSON array of the texts, in the order of the paths: AES-256-GCM with a random
nonce, bound to stream, version, paths and key id; a commitment says which key it was. So nothing
can be moved, swapped or passed off as forgotten without being noticed. Empty texts are not sealed;
of others it can be told how long they are together. That a whole ``sealed`` member was not taken
out is for the proof over the log's bytes to show.

At first each text was sealed by itself, bound to its path; that is read as ever::

    "sealed": {"keys": {key id: commitment}, "fields": {path: [key id, nonce and ciphertext]}}
"""

import binascii
import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from cryptography.exceptions import InvalidTag

from domain import calendar, catalogue, operations, privacy, staff, territory, webhooks
from domain.case import events as case
from domain.personal import FORGOTTEN, SEALED, PersonalMark
from infra.vault import Key, Keys, Tampered, subject_of

NAMES: Final[dict[str, type]] = {
    "case.reported": case.CaseReported,
    "case.verified": case.CaseVerified,
    "case.rejected": case.CaseRejected,
    "case.filed": case.CaseFiled,
    "case.reclassified": case.CaseReclassified,
    "case.void_asked": case.VoidAsked,
    "case.voided": case.CaseVoided,
    "case.dispatched": case.CaseDispatched,
    "case.transferred": case.CaseTransferred,
    "case.accepted": case.CaseAccepted,
    "case.escalated": case.CaseEscalated,
    "case.returned": case.CaseReturned,
    "case.whistled": case.CaseWhistled,
    "case.unit_reported_in": case.UnitReportedIn,
    "case.unit_absent": case.UnitAbsent,
    "case.split": case.CaseSplit,
    "case.merged": case.CaseMerged,
    "case.absorbed": case.CaseAbsorbed,
    "case.child_ended": case.ChildEnded,
    "case.child_reopened": case.ChildReopened,
    "case.park_asked": case.ParkAsked,
    "case.parked": case.CaseParked,
    "case.resumed": case.CaseResumed,
    "case.extension_asked": case.ExtensionAsked,
    "case.deadline_extended": case.DeadlineExtended,
    "case.request_declined": case.RequestDeclined,
    "case.due_reminded": case.DueReminded,
    "case.deadline_breached": case.DeadlineBreached,
    "case.due_recomputed": case.DueRecomputed,
    "case.contact_due_reckoned": case.ContactDueReckoned,
    "case.resolved": case.CaseResolved,
    "case.check_passed": case.CheckPassed,
    "case.check_failed": case.CheckFailed,
    "case.closed": case.CaseClosed,
    "case.callback_made": case.CallbackMade,
    "case.evaluated": case.CaseEvaluated,
    "case.reopened": case.CaseReopened,
    "case.reopening_ended": case.ReopeningEnded,
    "case.note_added": case.NoteAdded,
    "case.file_attached": case.FileAttached,
    "case.rule_waived": case.RuleWaived,
    "territory.created": territory.TerritoryCreated,
    "territory.renamed": territory.TerritoryRenamed,
    "territory.grid_redrawn": territory.GridRedrawn,
    "territory.grid_split": territory.GridSplit,
    "territory.grids_merged": territory.GridsMerged,
    "territory.worker_assigned": territory.WorkerAssigned,
    "territory.worker_released": territory.WorkerReleased,
    "territory.households_recorded": territory.HouseholdsRecorded,
    "staff.user_added": staff.UserAdded,
    "staff.role_granted": staff.RoleGranted,
    "staff.role_revoked": staff.RoleRevoked,
    "staff.user_suspended": staff.UserSuspended,
    "staff.user_restored": staff.UserRestored,
    "staff.user_moved": staff.UserMoved,
    "staff.password_changed": staff.PasswordChanged,
    "staff.unit_added": staff.UnitAdded,
    "staff.unit_closed": staff.UnitClosed,
    "privacy.personal_shown": privacy.PersonalShown,
    "privacy.forget_asked": privacy.ForgetAsked,
    "privacy.forget_declined": privacy.ForgetDeclined,
    "privacy.person_forgotten": privacy.PersonForgotten,
    "webhook.receiver_added": webhooks.ReceiverAdded,
    "webhook.receiver_changed": webhooks.ReceiverChanged,
    "webhook.receiver_secret_rotated": webhooks.ReceiverSecretRotated,
    "webhook.receiver_removed": webhooks.ReceiverRemoved,
    "webhook.dead_letters_resent": webhooks.DeadLettersResent,
    "projection.event_skipped": operations.EventSkipped,
    "catalogue.category_defined": catalogue.CategoryDefined,
    "catalogue.category_retired": catalogue.CategoryRetired,
    "catalogue.policy_set": catalogue.PolicySet,
    "catalogue.reminder_set": catalogue.ReminderSet,
    "calendar.year_published": calendar.YearPublished,
    "calendar.day_declared": calendar.DayDeclared,
    "calendar.working_hours_set": calendar.WorkingHoursSet,
    "calendar.working_hours_changed": calendar.WorkingHoursChanged,
}


@dataclass(frozen=True, slots=True)
class Upcast:
    """How an old shape is read: ``name`` is what it is called now, ``change`` maps its fields."""

    name: str
    change: Callable[[dict[str, Any]], dict[str, Any]]


UPCASTS: Final[dict[str, Upcast]] = {}
"""By old name. Empty while every shape is the first of its kind."""


class UnknownEvent(Exception):
    """The log holds a name that this version does not know: never guessed, never skipped."""


class NoSubject(Exception):
    """A field is marked as personal, and nobody can say whose key it belongs to."""


# --- which fields are personal ---

ID_FIELDS: Final = ("person", "user")
"""What the field is called that says whose a personal field beside it is."""

CASE_STREAMS: Final = ("case", "privacy")
"""The families of streams named after a case."""


class _Text(NamedTuple):
    """A marked field. ``owner`` is the field with the person's id, None for the case's key."""

    name: str
    owner: str | None


class _Plan(NamedTuple):
    """The personal fields of a class: its own, and those inside of some of its fields."""

    texts: tuple[_Text, ...] = ()
    inner: "tuple[tuple[str, _Plan], ...]" = ()


_Found: TypeAlias = tuple[str, str, str]
"""A personal text in an event: where it stands, what it says, whose key it belongs to."""


@cache
def _plan(shape: type) -> _Plan:
    """Which fields of a dataclass are personal.

    Raises:
        NoSubject: a mark stands where it cannot be followed, or beside no id.
    """
    hints = get_type_hints(shape, include_extras=True)
    texts: list[_Text] = []
    inner: list[tuple[str, _Plan]] = []
    for name in (each.name for each in fields(shape)):
        hint = _inside(hints[name])
        mark = _mark(hint)
        if mark is not None:
            texts.append(_Text(name, _owner(shape, hints) if mark.of == "person" else None))
        elif isinstance(hint, type) and is_dataclass(hint):
            if (plan := _plan(hint)) != _Plan():
                inner.append((name, plan))
        elif _is_marked(hint):
            raise NoSubject(f"{shape.__name__}.{name}: a personal field must be a text of its own.")
    return _Plan(tuple(texts), tuple(inner))


def _inside(hint: Any) -> Any:
    """What an optional field, or a tuple of any length, is made of."""
    while True:
        arguments = get_args(hint)
        if get_origin(hint) in (Union, UnionType) and len(arguments) == 2:
            others = [each for each in arguments if each is not type(None)]
            if len(others) != 1:
                return hint
            hint = others[0]
        elif get_origin(hint) is tuple and arguments[1:] == (Ellipsis,):
            hint = arguments[0]
        else:
            return hint


def _mark(hint: Any) -> PersonalMark | None:
    if get_origin(hint) is not Annotated or get_args(hint)[0] is not str:
        return None
    marks = (each for each in hint.__metadata__ if isinstance(each, PersonalMark))
    return next(marks, None)


def _is_marked(hint: Any) -> bool:
    """Whether there is a mark anywhere inside."""
    if isinstance(hint, PersonalMark):
        return True
    if isinstance(hint, type) and is_dataclass(hint):
        return _plan(hint) != _Plan()
    metadata = getattr(hint, "__metadata__", ())
    return any(_is_marked(each) for each in (*get_args(hint), *metadata))


def _owner(shape: type, hints: Mapping[str, Any]) -> str:
    owners = [name for name in ID_FIELDS if hints.get(name) is str]
    if len(owners) != 1:
        raise NoSubject(f"{shape.__name__} must have one of {ID_FIELDS} as the id of the person.")
    return owners[0]


def _keeps(plan: _Plan, shape: Any) -> bool:
    """Whether a shape keeps any of the fields of a plan."""
    hints = get_type_hints(shape)
    return any(name in hints for name, _ in plan.texts) or any(
        name in hints and _keeps(inner, _inside(hints[name])) for name, inner in plan.inner
    )


def _texts(
    plan: _Plan, of: Any, get: Callable[[Any, str], Any], stream: str, prefix: str = ""
) -> list[_Found]:
    """The personal texts of an event that are not empty; ``get`` takes a field from what it is."""
    found: list[_Found] = []
    for name, owner in plan.texts:
        value = get(of, name)
        if not value:
            continue
        subject = _case(stream) if owner is None else f"person:{get(of, owner)}"
        if isinstance(value, str):  # as most are, and there are millions
            found.append((prefix + name, value, subject))
        else:
            found += [(path, text, subject) for path, text in _each(value, prefix + name) if text]
    for name, inner in plan.inner:
        value = get(of, name)
        if value is None:
            continue
        for path, each in _each(value, prefix + name):
            if each is not None:
                found += _texts(inner, each, get, stream, f"{path}.")
    return found


def _each(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, tuple | list):
        return ((path, value),)
    return chain.from_iterable(_each(each, f"{path}.{i}") for i, each in enumerate(value))


def _case(stream: str) -> str:
    family, _, case_id = stream.partition(":")
    if family not in CASE_STREAMS or not case_id:
        raise NoSubject(f"The stream {stream!r} is of no case, so free text has no key there.")
    return f"case:{case_id}"


# --- sealing ---


class _Ciphertext(NamedTuple):
    """What was sealed together. ``bound`` are its paths, or the only one in the first form."""

    key: str
    bound: list[str] | str
    stored: str

    @property
    def paths(self) -> list[str]:
        """Where its texts stand."""
        return [self.bound] if isinstance(self.bound, str) else self.bound

    def texts(self, clear: bytes) -> list[str]:
        """The texts in the opened bytes.

        Raises:
            ValueError, msgspec.DecodeError: they are no such texts.
        """
        return [clear.decode()] if isinstance(self.bound, str) else _texts_from_json(clear)


class _Sealed(msgspec.Struct, omit_defaults=True):
    """The member beside the fields of an event with personal texts, in either form."""

    keys: dict[str, str]
    texts: dict[str, tuple[list[str], str]] = msgspec.field(default_factory=dict)
    fields: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)

    def ciphertexts(self) -> list[_Ciphertext]:
        """All there are."""
        found = [_Ciphertext(key, *each) for key, each in self.texts.items()]
        return found + [_Ciphertext(key, path, each) for path, (key, each) in self.fields.items()]


class _Keys(msgspec.Struct):
    """The same member, its ciphertexts passed over."""

    keys: dict[str, str]


class _Keyed(msgspec.Struct):
    sealed: _Keys | None = None


_SEALED_MEMBER: Final = b'"sealed":'
"""Inside a JSON text its quotation marks would be escaped: these bytes are a member's name."""

_SEALED_BESIDE: Final = b"," + _SEALED_MEMBER
"""Where the ciphertexts begin: ``encode`` puts them behind all other members."""

_NONCE: Final = 12

_as_json: Final = msgspec.json.Encoder().encode
_texts_from_json: Final = msgspec.json.Decoder(list[str]).decode


def _bound_to(stream: str, version: int, paths: list[str] | str, key: str) -> bytes:
    """What a ciphertext belongs to, as a JSON array: no two places give the same bytes."""
    return _as_json((stream, version, paths, key))


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _from_base64(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)


def _decrypted(key: Key, commitment: str, stored: str, bound: bytes) -> bytes:
    """What a ciphertext holds.

    Raises:
        ValueError, InvalidTag: it is not what this key has sealed in this place.
    """
    if not hmac.compare_digest(key.commitment, _from_base64(commitment)):
        raise InvalidTag
    raw = _from_base64(stored)
    return key.cipher.decrypt(raw[:_NONCE], raw[_NONCE:], bound)


class _Place(NamedTuple):
    """Where a personal text stands in an event: what finds the object that holds it, its field
    there, and the field with the id of whose it is (None: the case's)."""

    holder: Callable[[Any], Any]
    name: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class _Quick:
    """Opens events of one stored name straight into one shape, as long as nothing is unusual.

    By way of dictionaries it takes twice as long, and a build opens millions.
    """

    half: Callable[[bytes], Any]
    """The shape with its texts sealed and the ciphertexts beside them: read once for both, first
    for the keys it names and then to be opened."""
    places: dict[str, _Place]
    """By path."""
    holders: Sequence[tuple[Callable[[Any], Any], Callable[[Any], tuple[Any, ...]]]]
    """What finds each object that holds texts, and what takes them out of it."""

    def opened(self, half: Any, stream: str, version: int, keys: Keys) -> Any:
        """The event, in place; None where a key is gone or anything is not as it was written:
        whoever looks closer finds out what."""
        try:
            return self._opened(half, stream, version, keys)
        except (
            msgspec.DecodeError, KeyError, AttributeError, InvalidTag, ValueError, NoSubject,
        ):  # fmt: skip
            return None

    def _opened(self, event: Any, stream: str, version: int, keys: Keys) -> Any:
        sealed, event.sealed = event.sealed, None
        clear: list[tuple[str, Sequence[str], list[str]]] = []
        for id_, (paths, stored) in sealed.texts.items():
            key, bound = keys[id_], _bound_to(stream, version, paths, id_)
            together = _texts_from_json(_decrypted(key, sealed.keys[id_], stored, bound))
            clear.append((key.subject, paths, together))
        if sealed.fields:
            mine = {id_: keys[id_] for id_ in sealed.keys}  # one seals several
            for path, (id_, stored) in sealed.fields.items():
                key, bound = mine[id_], _bound_to(stream, version, path, id_)
                text = _decrypted(key, sealed.keys[id_], stored, bound).decode()
                clear.append((key.subject, (path,), [text]))
        case = _case(stream)
        for subject, paths, texts in clear:
            for path, text in zip(paths, texts, strict=True):
                found, name, owner = self.places[path]
                holder = found(event)
                whose = case if owner is None else f"person:{getattr(holder, owner)}"
                # A text that reads like a sealed one would hide that it is there twice.
                if whose != subject or getattr(holder, name) != SEALED or text == SEALED:
                    return None
                setattr(holder, name, text)
        for found, values in self.holders:
            holder = found(event)
            if holder is not None and SEALED in values(holder):
                return None
        return event


def _places(plan: _Plan, shape: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, _Place]]:
    """The personal texts of a plan by their paths, and where each stands in a shape.

    Raises:
        LookupError: one is not in it, or several may stand in one place.
    """
    hints = get_type_hints(shape)
    for name in (*(text.name for text in plan.texts), *(name for name, _ in plan.inner)):
        if name not in hints or _is_many(hints[name]):
            raise LookupError(name)
    holder = attrgetter(".".join(way)) if way else _itself
    for name, owner in plan.texts:
        if owner and owner not in hints:
            raise LookupError(shape)
        yield ".".join((*way, name)), _Place(holder, name, owner)
    for name, inner in plan.inner:
        yield from _places(inner, _inside(hints[name]), (*way, name))


def _itself(event: Any) -> Any:
    return event


def _half(shape: type) -> type:
    """A shape with the ciphertexts beside its fields.

    Raises:
        LookupError: it is of a kind that cannot be had with a further field.
    """
    if not issubclass(shape, msgspec.Struct):
        raise LookupError(shape)
    beside = ("sealed", _Sealed | None, None)
    return msgspec.defstruct(
        shape.__name__, [beside], bases=(shape,), gc=shape.__struct_config__.gc
    )


def _is_many(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(_is_many(each) for each in get_args(hint))


def _place(root: Any, path: str) -> tuple[Any, Any]:
    """The object or array that a path leads to the end of, and the last step."""
    *way, last = path.split(".")
    for step in way:
        root = root[int(step)] if isinstance(root, list) else root[step]
    return root, int(last) if isinstance(root, list) else last


@dataclass(slots=True)
class _Opening:
    """One stored event being opened."""

    stream: str
    version: int
    sealed: _Sealed
    keys: Keys
    by_path: dict[str, _Ciphertext] = field(default_factory=dict)
    _clear: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Key | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.sealed.ciphertexts():
            for path in each.paths:
                if path in self.by_path:
                    raise self.tampered(path, "it is sealed twice")
                self.by_path[path] = each

    def text(self, path: str) -> str:
        """What a field says, or that it is forgotten."""
        if path not in self._clear:
            ciphertext = self.by_path[path]
            self._clear |= zip(ciphertext.paths, self._open(path, ciphertext), strict=True)
        return self._clear[path]

    def _open(self, path: str, ciphertext: _Ciphertext) -> list[str]:
        """All texts of a ciphertext; ``path`` is that of the one that is wanted."""
        id_, bound, stored = ciphertext
        if id_ not in self._known:
            self._known[id_] = self._key(path, id_)
        key, count = self._known[id_], len(ciphertext.paths)
        if key is None:
            return [FORGOTTEN] * count
        raw = self._bytes(path, stored)
        belongs = _bound_to(self.stream, self.version, bound, id_)
        try:
            found = ciphertext.texts(key.cipher.decrypt(raw[:_NONCE], raw[_NONCE:], belongs))
        except (InvalidTag, ValueError, msgspec.DecodeError):
            found = []
        if len(found) != count:
            raise self.tampered(path, "its bytes were changed or moved")
        return found

    def _key(self, path: str, id_: str) -> Key | None:
        """The key that the event names and was sealed with; None: it was destroyed."""
        if id_ not in self.sealed.keys:
            raise self.tampered(path, f"the event does not commit itself to {id_}")
        commitment = self._bytes(path, self.sealed.keys[id_])
        try:
            key = self.keys[id_]
        except KeyError:
            if self.keys.destroyed.get(id_) == commitment:
                return None
            raise self.tampered(path, self._why_absent(id_)) from None
        if not hmac.compare_digest(key.commitment, commitment):
            raise self.tampered(path, f"{id_} is not the key it was sealed with")
        return key

    def tampered(self, path: str, why: str) -> Tampered:
        """What to raise where a field is not as it was written."""
        return _tampered(self.stream, self.version, path, why)

    def _why_absent(self, key: str) -> str:
        if key in self.keys.broken:
            return f"the key {key} in the vault is not what was put there"
        if key in self.keys.destroyed:
            return f"{key}, which is destroyed, is not the key it was sealed with"
        return f"the vault has never had a key {key}"

    def _bytes(self, path: str, text: str) -> bytes:
        try:
            return _from_base64(text)
        except ValueError:
            raise self.tampered(path, "no Base64") from None


def _tampered(stream: str, version: int, path: str, why: str) -> Tampered:
    return Tampered(
        f"事件 {stream}（版本 {version}）的字段 {path} 与写入时不符。"
        f"{stream}, version {version}, field {path}: {why}."
    )


def _unread(_: bytes | None) -> None:
    """Of an event that nobody reads."""


Decode: TypeAlias = Callable[[bytes], Any]


class _Decoders(dict[str, Decode]):
    """By stored name."""

    def __missing__(self, name: str) -> Decode:
        raise UnknownEvent(f"The log holds an event named {name!r}, unknown to this version.")


class Codec:
    """Writes events under their names and reads them back, old shapes too."""

    def __init__(
        self, names: Mapping[str, type] = NAMES, upcasts: Mapping[str, Upcast] = UPCASTS
    ) -> None:
        """``upcasts`` may lead to another old name, but not round in a circle.

        Raises:
            NoSubject: an event has a personal field that cannot be said whose it is.
        """
        self._names = {event: name for name, event in names.items()}
        self._shapes = dict(names)
        self._plans = {event: _plan(event) for event in names.values()}
        self._personal = {event: plan for event, plan in self._plans.items() if plan != _Plan()}
        self._encoder = msgspec.json.Encoder()
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(event) for name, event in names.items()
        }
        self._keyed = msgspec.json.Decoder(_Keyed)
        self._upcasts = dict(upcasts)
        self._names_of: dict[tuple[type, ...], list[str]] = {}
        self._partial: dict[frozenset[tuple[type, type]], _Decoders] = {}
        self._quick: dict[tuple[str, type], _Quick | None] = {}

    def subjects_of(self, event: Any, stream: str) -> tuple[str, ...]:
        """Whose keys the event is to be sealed with; empty for most events.

        Raises:
            NoSubject: free text in a stream that is of no case.
        """
        plan = self._personal.get(type(event))
        if plan is None:
            return ()
        found = _texts(plan, event, getattr, stream)
        return tuple(dict.fromkeys(subject for _, _, subject in found))

    def encode(
        self, event: Any, stream: str, version: int, keys: Mapping[str, Key]
    ) -> tuple[str, bytes]:
        """The stored name and the bytes of an event; ``keys`` are by subject.

        Raises:
            KeyError: the key of one of ``subjects_of`` is missing.
            NoSubject: as in ``subjects_of``.
        """
        name, data = self._names[type(event)], self._encoder.encode(event)
        plan = self._personal.get(type(event))
        texts = _texts(plan, event, getattr, stream) if plan is not None else []
        if not texts:
            return name, data
        raw = msgspec.json.decode(data)
        together: dict[str, dict[str, str]] = {}
        for path, text, subject in texts:
            together.setdefault(subject, {})[path] = text
            within, last = _place(raw, path)
            within[last] = SEALED
        sealed = _Sealed({})
        for subject, found in together.items():
            key, paths, nonce = keys[subject], list(found), os.urandom(_NONCE)
            bound = _bound_to(stream, version, paths, key.id)
            ciphertext = key.cipher.encrypt(nonce, _as_json(list(found.values())), bound)
            sealed.keys[key.id] = _base64(key.commitment)
            sealed.texts[key.id] = paths, _base64(nonce + ciphertext)
        raw["sealed"] = sealed
        return name, self._encoder.encode(raw)

    def decode(self, name: str, data: bytes) -> Any:
        """The event that was stored; what was sealed reads ``SEALED``.

        Raises:
            UnknownEvent: no shape has this name.
            msgspec.ValidationError: the bytes do not have the shape of the name.
        """
        if name in self._upcasts:
            return self._upcast(name, msgspec.json.decode(data))
        decoder = self._decoders.get(name)
        if decoder is None:
            raise UnknownEvent(f"The log holds an event named {name!r}, unknown to this version.")
        return decoder.decode(data)

    def decoders(self, shapes: Mapping[type, type]) -> "Mapping[str, Decode]":
        """What reads the bytes of each stored name, quickly: personal fields read ``SEALED``.

        ``shapes`` gives some classes a smaller one, with a subset of the fields under the same
        names: the rest is passed over, and all of it for ``NoneType``. Looking up an unknown name
        raises ``UnknownEvent``.
        """
        wanted = frozenset(shapes.items())
        made = self._partial.get(wanted)
        if made is None:
            made = _Decoders()
            for name, event in self._shapes.items():
                shape = shapes.get(event, event)
                made[name] = _unread if shape is NoneType else msgspec.json.Decoder(shape).decode
            for name in self._upcasts:
                made[name] = partial(self._upcast_to, made, name)
            self._partial[wanted] = made
        return made

    def _upcast_to(self, decoders: "_Decoders", name: str, data: bytes) -> Any:
        name, raw = self._changed(name, msgspec.json.decode(data))
        return decoders[name](self._encoder.encode(raw))

    def plain(self, name: str, data: bytes) -> str:
        """The JSON of an event in its present shape, personal fields ``SEALED``."""
        if name in self._upcasts:
            return self._encoder.encode(self.decode(name, data)).decode()
        end = data.find(_SEALED_BESIDE)
        return (data if end < 0 else data[:end] + b"}").decode()

    def keys_in(self, data: bytes) -> tuple[str, ...]:
        """The ids of the keys that stored bytes are sealed with; empty where nothing is.

        Bytes that were tampered with name none: ``open`` says what is wrong with them.
        """
        if _SEALED_MEMBER not in data:
            return ()
        try:
            sealed = self._keyed.decode(data).sealed
        except msgspec.DecodeError:
            return ()
        return tuple(sealed.keys) if sealed else ()

    def half_open(self, name: str, data: bytes, shape: type | None) -> Any:
        """A stored event in a smaller shape, whose ``sealed.keys`` says what ``keys_in`` does;
        None where it cannot be had so quickly, or nothing is sealed."""
        quick = None if shape is None else self._quickly(name, shape)
        if quick is None or _SEALED_MEMBER not in data:
            return None
        try:
            half = quick.half(data)
        except msgspec.DecodeError:
            return None
        return None if half.sealed is None else half

    def has_personal(self, event: type, shape: type) -> bool:
        """Whether a smaller shape of an event keeps any of its personal fields."""
        plan = self._personal.get(event)
        return plan is not None and shape is not NoneType and _keeps(plan, shape)

    def open(
        self,
        name: str,
        data: bytes,
        stream: str,
        version: int,
        keys: Keys,
        shape: type | None = None,
        half: Any = None,
    ) -> Any:
        """The event that was stored, in clear as far as its keys are there.

        ``keys`` is what the vault says of ``keys_in``. A field whose key was destroyed reads
        ``FORGOTTEN``; what was stored in clear is read as it is. ``shape``: a smaller one, as for
        ``decoders``, whose class is that of the name today; ``half``: what ``half_open`` made of it
        before, which is not to be used again.

        Raises:
            Tampered: a field is not what was written there; the text names event and field.
            UnknownEvent, msgspec.ValidationError: as in ``decode``.
        """
        if shape is not None:
            quick = self._quickly(name, shape)
            if half is None:
                half = self.half_open(name, data, shape)
            event = quick and half and quick.opened(half, stream, version, keys)
            if event is not None:
                return event
        raw = msgspec.json.decode(data) if _SEALED_MEMBER in data else None
        if not isinstance(raw, dict) or raw.get("sealed") is None:
            if shape is not None:
                return msgspec.convert(self._changed(name, msgspec.json.decode(data))[1], shape)
            return self.decode(name, data)
        try:
            sealed = msgspec.convert(raw.pop("sealed"), _Sealed)
        except msgspec.ValidationError as error:
            raise _tampered(stream, version, "sealed", str(error)) from None
        opening = _Opening(stream, version, sealed, keys)
        self._demand_whole(opening, name, raw)
        for path in opening.by_path:
            try:
                within, last = _place(raw, path)
                whole = within[last] == SEALED
            except (LookupError, TypeError, ValueError):
                raise opening.tampered(path, "there is no such field") from None
            if not whole:
                raise opening.tampered(path, "it does not stand there as sealed")
            within[last] = opening.text(path)
        if shape is not None:
            return msgspec.convert(self._changed(name, raw)[1], shape)
        return self._upcast(name, raw)

    def _quickly(self, name: str, shape: type) -> _Quick | None:
        """The quick way into a shape that can be written into; None where there is none."""
        try:
            return self._quick[name, shape]
        except KeyError:
            found = None
            with suppress(LookupError):
                places = dict(_places(self._personal[self._shapes[name]], shape))
                names: dict[Callable[[Any], Any], list[str]] = {}
                for place in places.values():
                    names.setdefault(place.holder, []).append(place.name)
                # Of two names and more it makes a tuple.
                holders = [(each, attrgetter(*texts, texts[0])) for each, texts in names.items()]
                decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_half(shape))
                found = _Quick(decoder.decode, places, holders)
            self._quick[name, shape] = found
            return found

    def _demand_whole(self, opening: _Opening, name: str, raw: dict[str, Any]) -> None:
        """Every field that reads as sealed is, under a key of whoever it belongs to.

        Of an old shape only the cipher itself can tell: the marks are those of today's classes.
        """
        shape = self._shapes.get(name)
        if shape is None:
            return
        try:
            texts = _texts(self._plans[shape], raw, dict.get, opening.stream)
        except TypeError:
            raise opening.tampered("sealed", "the event has another shape") from None
        found = {path: subject for path, _, subject in texts}
        subjects = {id_: subject_of(id_) for id_, _, _ in opening.by_path.values()}
        for path, (id_, _, _) in opening.by_path.items():
            if path not in found or found[path] != subjects[id_]:
                raise opening.tampered(path, f"{id_} is not a key for this field")
        for path, text, _ in texts:
            if text == SEALED and path not in opening.by_path:
                raise opening.tampered(path, "its ciphertext is missing")

    def _upcast(self, name: str, raw: dict[str, Any]) -> Any:
        """An event from the JSON of any of its shapes."""
        name, raw = self._changed(name, raw)
        return self.decode(name, self._encoder.encode(raw))

    def _changed(self, name: str, raw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The name and JSON that an old shape has today."""
        while upcast := self._upcasts.get(name):
            name, raw = upcast.name, upcast.change(raw)
        return name, raw

    def names_of(self, events: tuple[type, ...]) -> list[str]:
        """All names, old ones too, under which events of these classes may be stored."""
        known = self._names_of.get(events)
        if known is not None:
            return known
        current = {self._names[event] for event in events}
        old = {name for name in self._upcasts if self._newest(name) in current}
        self._names_of[events] = sorted(current | old)
        return self._names_of[events]

    def _newest(self, name: str) -> str:
        while upcast := self._upcasts.get(name):
            name = upcast.name
        return name
