//! Reading the fields of a call, with errors that name them.

use std::borrow::Cow;

use crate::api::call::{ApiError, BadRequest};
use crate::core::publication::{Payload, Position};
use crate::wire::json::{Json, JsonError, Object, Value};

/// The fields of these names. Errors: one of them is there twice.
pub(super) fn read<'t, const N: usize>(
    object: Object<'t>,
    names: [&'static str; N],
) -> Result<[Option<Value<'t>>; N], ApiError> {
    object.read(names).map_err(|error| match error {
        JsonError::RepeatedName { name } => repeated(name),
        // The text was checked as a whole before.
        _ => ApiError::Internal,
    })
}

/// A string; absent if it is empty.
pub(super) fn text<'t>(
    field: &'static str,
    value: Option<Value<'t>>,
) -> Result<Option<Cow<'t, str>>, ApiError> {
    let Some(value) = present(value) else { return Ok(None) };
    let text = value.as_str().ok_or_else(|| wrong_type(field, "a string"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub(super) fn flag(field: &'static str, value: Option<Value<'_>>) -> Result<bool, ApiError> {
    let value = present(value).map_or(Some(false), Value::as_bool);
    value.ok_or_else(|| wrong_type(field, "true or false"))
}

/// Libraries write `null` for what was not set.
pub(super) fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| !value.is_null())
}

pub(super) fn missing(field: &'static str) -> ApiError {
    ApiError::BadRequest { reason: BadRequest::Missing { field } }
}

pub(super) fn wrong_type(field: &'static str, want: &'static str) -> ApiError {
    ApiError::BadRequest { reason: BadRequest::Type { field, want } }
}

pub(super) fn repeated(field: &'static str) -> ApiError {
    ApiError::BadRequest { reason: BadRequest::Repeated { field } }
}

pub(super) fn too_long(field: &'static str, limit: usize) -> ApiError {
    ApiError::BadRequest { reason: BadRequest::TooLong { field, limit } }
}

pub(super) fn not_available(feature: &'static str) -> ApiError {
    ApiError::NotAvailable { feature }
}

/// Unix time in whole seconds; 0 counts as absent.
pub(super) fn time_s(field: &'static str, value: Option<Value<'_>>) -> Result<Option<u64>, ApiError> {
    let seconds = present(value).map_or(Some(0), Value::as_u64);
    let seconds = seconds.ok_or_else(|| wrong_type(field, "a Unix time in whole seconds"))?;
    Ok((seconds != 0).then_some(seconds))
}

/// What was sent in base64: JSON, else text, else bytes.
pub(super) fn payload_of_base64(bytes: Vec<u8>, json: &mut Json) -> Payload {
    let text = json.text_of(&bytes).map(|text| Payload::Json(text.into()));
    text.unwrap_or_else(|| Payload::Binary(bytes.into()))
}

/// `{"offset":7,"epoch":"…"}`. `names`: of the field and of the two in it.
pub(super) fn position(
    [field, offset_field, epoch_field]: [&'static str; 3],
    value: Option<Value<'_>>,
) -> Result<Option<Position>, ApiError> {
    let Some(value) = present(value) else { return Ok(None) };
    let object = value.as_object().ok_or_else(|| wrong_type(field, "an object"))?;
    let [offset, epoch] = read(object, ["offset", "epoch"])?;
    let offset = present(offset).map_or(Some(0), Value::as_u64);
    let offset = offset.ok_or_else(|| wrong_type(offset_field, "a whole number"))?;
    let epoch = text(epoch_field, epoch)?.unwrap_or_default();
    Ok(Some(Position { offset, epoch: epoch.into() }))
}
