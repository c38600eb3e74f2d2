"""What goes in and what comes out of `/auth`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers
from rest_framework.fields import get_error_detail

from config.core.fields import ClosedSerializer, TextField
from users.addresses import ADDRESS_MAX_LENGTH, validate_address
from users.models import ApiKey, User
from users.permissions import is_admin

# Hashing is expensive on purpose and grows with the text, so the text has an end.
PASSWORD_MAX_LENGTH = 128


class PasswordField(serializers.CharField):
    """Taken as it is: spaces count, and a JSON number is not a password."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=PASSWORD_MAX_LENGTH, write_only=True, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RegisterInput(ClosedSerializer):
    email = serializers.EmailField(max_length=ADDRESS_MAX_LENGTH, validators=[validate_address])
    password = PasswordField()

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        try:
            validate_password(attrs["password"], User(email=attrs["email"]))
        except DjangoValidationError as error:
            raise serializers.ValidationError({"password": get_error_detail(error)}) from None
        return attrs


class LoginInput(ClosedSerializer):
    email = TextField(max_length=ADDRESS_MAX_LENGTH)
    password = PasswordField()


class TokenOutput(serializers.Serializer[Any]):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)


class ApiKeyInput(ClosedSerializer):
    """`expires_at`: when it ends by itself; never, where it is left out."""

    name = TextField(max_length=100)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class ApiKeyOutput(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "expires_at", "created_at"]


class IssuedKeyOutput(ApiKeyOutput):
    """`key` is shown this once."""

    key = serializers.CharField()

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "key", "expires_at", "created_at"]


class UserOutput(serializers.Serializer[User]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    is_admin = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    def get_is_admin(self, user: User) -> bool:
        return is_admin(user)
