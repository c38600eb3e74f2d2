"""Who may call: a person's account, and the outside identities that lead to it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models import Value
from django.db.models.functions import Collate, Lower
from django.utils import timezone

from config.core.ids import uuid7
from users.addresses import ADDRESS_MAX_LENGTH, validate_address

BYTEWISE_EMAIL = Collate(Lower("email"), "C")


class UserQuerySet(models.QuerySet["User"]):
    def with_address(self, email: str) -> UserQuerySet:
        """Whose address this is, in whatever case. Both sides are folded by PostgreSQL, which has an index for it."""
        return self.alias(folded_email=Lower("email")).filter(folded_email=Lower(Value(email)))

    def with_prefix(self, beginning: str) -> UserQuerySet:
        """Whose address begins so, in whatever case. Compared byte by byte, as an index of its own has them."""
        return self.alias(bytewise_email=BYTEWISE_EMAIL).filter(bytewise_email__startswith=beginning.lower())


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def with_prefix(self, beginning: str) -> UserQuerySet:
        return self.get_queryset().with_prefix(beginning)

    def with_address(self, email: str) -> UserQuerySet:
        return self.get_queryset().with_address(email)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.with_address(username or "").get()

    def create_user(self, *, email: str, password: str | None = None, **fields: Any) -> User:
        """The address is stored as given. Without a password the account has none that could be guessed."""
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, *, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email=email, password=password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, known by e-mail address; the address's case is kept but does not count."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # `unique` repeats the constraint below, because Django's own check asks it of the field that names a user.
    email = models.EmailField(max_length=ADDRESS_MAX_LENGTH, unique=True, validators=[validate_address])
    display_name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(default=True, help_text="Unset instead of deleting: money rows stay.")
    is_staff = models.BooleanField(default=False, help_text="May enter this admin and the admin API.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_once_in_any_case",
                violation_error_message="A user with this e-mail address exists.",
            )
        ]
        indexes = [models.Index(BYTEWISE_EMAIL, name="user_email_prefix")]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.display_name or self.email

    def get_short_name(self) -> str:
        return self.display_name or self.email


class ExternalIdentity(models.Model):
    """A person at an outside identity provider. Known by issuer and subject only: an equal e-mail links nothing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255, blank=True, help_text="Empty where the provider's tokens name none.")
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "user_identities"
        verbose_name_plural = "external identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_issuer_subject_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer or 'the provider'}"


class ApiKey(models.Model):
    """A machine's key to its user's account. Only a digest of it is kept; a revoked one keeps its row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="The beginning of the key, to tell it by.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        verbose_name_plural = "API keys"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
