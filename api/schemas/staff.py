"""The people of the office: signing in, users, their grants, units."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from api.schemas.words import Answer, Body, Id, Name, Password, Path, PersonId, Scope, When, clean
from domain.roles import Grant, Role


class SignIn(Body):
    """User name and password of a local account."""

    username: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(clean)] = Field(
        examples=["li"]
    )
    password: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(clean)]


class TokenAnswer(BaseModel):
    """A bearer token. ``expires_in`` is in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int


class GrantIn(Body):
    """One role in one territory."""

    role: Role
    territory: Scope

    def grant(self) -> Grant:
        """As the domain has it."""
        return Grant(self.role, self.territory)


class AddUser(Body):
    """新增人员."""

    id: PersonId = Field(examples=["li"])
    name: Name = Field(examples=["李敏"])
    grants: list[GrantIn] = Field(default=[], max_length=50)
    unit: Id | None = None
    password: Password | None = Field(default=None, description="Without one nobody can sign in.")


class MoveIn(Body):
    """Where a person moves; null: to no unit."""

    unit: Id | None = Field(examples=["cleaning"])


class PasswordIn(Body):
    """A new password."""

    password: Password


class OwnPassword(Body):
    """The present password and the new one."""

    current: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(clean)]
    password: Password


class AddUnit(Body):
    """新增责任单位. No categories means competent for all."""

    id: Id = Field(examples=["cleaning"])
    name: Name = Field(examples=["环卫所"])
    territory: Path
    categories: list[Id] = Field(default=[], max_length=200)


class GrantAnswer(Answer):
    """One role in one territory."""

    role: Role
    territory: str


class UserAnswer(Answer):
    """One person. The name reads 已删除 once the person was forgotten."""

    id: str
    name: str
    grants: list[GrantAnswer]
    unit: str | None
    suspended: bool
    password_changed: When | None


class Users(BaseModel):
    """人员."""

    rows: list[UserAnswer]


class UnitAnswer(Answer):
    """One unit that cases can be dispatched to."""

    id: str
    name: str
    territory: str
    categories: list[str]
    closed: bool


class Units(BaseModel):
    """责任单位."""

    rows: list[UnitAnswer]
