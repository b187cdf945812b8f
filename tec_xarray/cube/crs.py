"""Where pixels are, written so that every reader finds it: a CF grid mapping.

CF (what xarray, rioxarray and GDAL's netCDF side read) has a scalar variable with the CRS, an
attribute ``grid_mapping`` on each image that names it, and coordinates that say where the pixels
are. What stackstac says in attributes of its own becomes that. An attribute ``proj:code`` (GeoZarr)
says the CRS in a word. GeoZarr's transform, bounding box and shape are not written: xarray keeps
attributes when it crops, and they would be those of another grid then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from typing import Any

import pyproj
import xarray as xr
from affine import Affine
from odc.geo import CRS

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import role_of

_PREFIXES = ("proj:", "spatial:")
_CONVENTIONS = {  # GeoZarr's proj and spatial, by what identifies them
    "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
}
_REFERENCE = "spatial_ref"  # what rioxarray and odc-geo call the variable with the CRS
_CRS_KEYS = {"crs_wkt", "spatial_ref", "grid_mapping_name"}


def with_crs(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset that states its CRS as CF does, if it states one at all.

    stackstac writes it into attributes (``crs``, ``transform``) and coordinates (``epsg``), which
    other software does not know. Coordinates stay as they are.

    Raises
    ------
    InvalidInput
        The dataset contradicts itself, or states something that is no CRS.
    """
    references = [n for n, v in data.variables.items() if v.ndim < 2 and _CRS_KEYS & set(v.attrs)]
    if references:
        return _with_mapping(data, str(references[0])) if len(references) == 1 else data
    stated = {str(value): where for where, value in _stated(data)}
    if not stated:
        return data
    found = {_crs(text, where): where for text, where in stated.items()}
    if len(found) > 1:
        raise InvalidInput(
            "different CRS: " + ", ".join(f"{where} = {text}" for text, where in stated.items()),
            allowed="one",
            fix="drop what is wrong, or state it with ds.rio.write_crs(...)",
        )
    wkt = next(iter(found)).to_wkt()
    # ``spatial_ref`` is GDAL's name for the attribute that CF calls ``crs_wkt``.
    attrs = {**pyproj.CRS.from_wkt(wkt).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
    return _with_mapping(data.assign_coords({_REFERENCE: ((), 0, attrs)}), _REFERENCE)


def _with_mapping(data: xr.Dataset, reference: str) -> xr.Dataset:
    """Let every image without a grid mapping name the one variable with a CRS."""
    result = data.copy(deep=False)
    for name, array in data.data_vars.items():
        result[name].attrs = _plain(array.attrs)
        if _is_image(array) and "grid_mapping" not in {*array.attrs, *array.encoding}:
            result[name].attrs["grid_mapping"] = reference
    return result


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON can hold them: stackstac's are objects of its own."""
    plain = dict(attrs)
    for key, value in attrs.items():
        if isinstance(value, Affine):
            plain[key] = [float(number) for number in tuple(value)]
        elif is_dataclass(value) and not isinstance(value, type):
            plain[key] = asdict(value)
    return plain


def _is_image(array: xr.DataArray) -> bool:
    return {"y", "x"} <= {role_of(str(dim)) for dim in array.dims}


def _stated(data: xr.Dataset) -> list[tuple[str, Any]]:
    """Find a CRS in attributes and scalar coordinates: where, and what."""
    found = [("crs", v.attrs["crs"]) for v in (data, *data.data_vars.values()) if "crs" in v.attrs]
    names = [n for n in ("epsg", "proj:epsg", "proj:code") if n in data.coords]
    return found + [(n, data[n].values[()]) for n in names if data[n].ndim == 0]


def _crs(text: str, where: str) -> CRS:
    try:
        return CRS(f"EPSG:{text}" if text.isdigit() else text)
    except Exception as error:
        # pyproj's own class, which odc-geo passes on
        raise InvalidInput(
            f"{where} = {text!r:.60}", allowed="an EPSG code, such as epsg:32632, or WKT",
            fix="drop it, or state the CRS with ds.rio.write_crs(...)",
        ) from error  # fmt: skip


def with_geo(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose CRS survives ``to_zarr`` and ``xr.open_zarr`` with default settings.

    ``grid_mapping`` moves from encodings, where it is lost as soon as somebody passes
    ``encoding=``, to attributes. Attributes of GeoZarr are set anew: ``proj:code`` (or
    ``proj:wkt2``), which holds for every crop, and none of those that do not. A ``GeoTransform``
    is dropped where coordinates say the same.

    Raises
    ------
    InvalidInput
        See `with_crs`.
    """
    data = with_crs(data)
    result = data.copy(deep=False)
    result.attrs = {k: v for k, v in data.attrs.items() if not str(k).startswith(_PREFIXES)}
    others = _other_conventions(result.attrs.pop("zarr_conventions", []))
    if others:
        result.attrs["zarr_conventions"] = others
    mappings = set()
    for name, array in data.data_vars.items():
        if "grid_mapping" in array.encoding:
            kept = dict(array.encoding)
            result[name].attrs = {**array.attrs, "grid_mapping": kept.pop("grid_mapping")}
            result[name].encoding = kept
        mappings.add(result[name].attrs.get("grid_mapping"))
    located = any(_is_image(a) and _has_coordinates(a) for a in data.data_vars.values())
    for name in mappings & set(data.variables):
        attrs = data.variables[name].attrs
        if located and "GeoTransform" in attrs:
            result[name].attrs = {k: v for k, v in attrs.items() if k != "GeoTransform"}
    found = _code_of([data.variables[name] for name in mappings & set(data.variables)])
    result.attrs |= found
    return result


def _other_conventions(stated: Any) -> list[Any]:
    """Return the conventions of Zarr that somebody else names, without those of GeoZarr."""
    if not isinstance(stated, (list, tuple)):
        return []
    ours = [isinstance(c, Mapping) and c.get("uuid") in _CONVENTIONS for c in stated]
    return [c for c, mine in zip(stated, ours, strict=True) if not mine]


def _has_coordinates(array: xr.DataArray) -> bool:
    sides = [d for d in array.dims if role_of(str(d)) in ("y", "x")]
    return all(dim in array.coords for dim in sides)


def _code_of(references: Sequence[xr.Variable]) -> dict[str, str]:
    """Return the CRS as GeoZarr names it; nothing if there is none, or more than one."""
    texts = {v.attrs.get("crs_wkt", v.attrs.get("spatial_ref")) for v in references} - {None}
    return dict(_code(str(texts.pop()))) if len(texts) == 1 else {}


@lru_cache(maxsize=64)  # what is no CRS makes pyproj search its database for a name like it, anew
def _code(text: str) -> Mapping[str, str]:
    try:
        crs = CRS(text)
    except Exception:  # noqa: BLE001  pyproj's own: it is not ours to judge, and stays as it is
        return {}
    code = crs.to_epsg()
    return {"proj:code": f"EPSG:{code}"} if code else {"proj:wkt2": crs.to_wkt()}


def crs_of(data: xr.Dataset) -> CRS | None:
    """Return the CRS that a dataset states in a grid mapping, by whichever attribute; None: none.

    Raises
    ------
    InvalidInput
        It states something that is no CRS.
    """
    for variable in data.variables.values():
        for key in ("crs_wkt", "spatial_ref"):
            if isinstance(variable.attrs.get(key), str):
                return _crs(variable.attrs[key], key)
    return None


def same_crs(a: CRS | None, b: CRS | None) -> bool:
    """Tell whether two CRS mean the same, however they are written; one not stated is no other."""
    if a is None or b is None or a == b:
        return True
    codes = a.to_epsg(), b.to_epsg()
    if None not in codes:
        return codes[0] == codes[1]
    return bool(a.proj.equals(b.proj, ignore_axis_order=True))
