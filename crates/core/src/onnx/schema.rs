//! The messages of ONNX (onnx.proto, IR version 14), as far as a graph may hold them.
//!
//! Not listed, and so refused: sparse tensors and tensor segments (small on disk, large in memory),
//! training information, and whatever a later ONNX adds.

use super::wire::Wire::{Bytes, Fixed32, Fixed64, Varint};
use super::wire::{Known, Schema};

pub const MODEL: Schema = Schema {
    name: "ModelProto",
    fields: &[
        Known(1, Varint, false), // ir_version
        Known(2, Bytes, false),
        Known(3, Bytes, false),
        Known(4, Bytes, false),
        Known(5, Varint, false),
        Known(6, Bytes, false),
        Known(7, Bytes, false), // graph
        Known(8, Bytes, true),  // opset_import
        Known(14, Bytes, true), // metadata_props
        Known(25, Bytes, true), // functions
    ],
};

pub const OPSET: Schema =
    Schema { name: "OperatorSetIdProto", fields: &[Known(1, Bytes, false), Known(2, Varint, false)] };

pub const ENTRY: Schema =
    Schema { name: "StringStringEntryProto", fields: &[Known(1, Bytes, false), Known(2, Bytes, false)] };

pub const GRAPH: Schema = Schema {
    name: "GraphProto",
    fields: &[
        Known(1, Bytes, true),  // node
        Known(2, Bytes, false), // name
        Known(5, Bytes, true),  // initializer
        Known(10, Bytes, false),
        Known(11, Bytes, true), // input
        Known(12, Bytes, true), // output
        Known(13, Bytes, true), // value_info
        Known(14, Bytes, true),
        Known(16, Bytes, true),
    ],
};

pub const FUNCTION: Schema = Schema {
    name: "FunctionProto",
    fields: &[
        Known(1, Bytes, false), // name
        Known(4, Bytes, true),  // input
        Known(5, Bytes, true),
        Known(6, Bytes, true),
        Known(7, Bytes, true), // node
        Known(8, Bytes, false),
        Known(9, Bytes, true),   // opset_import
        Known(10, Bytes, false), // domain
        Known(11, Bytes, true),  // attribute_proto
        Known(12, Bytes, true),
        Known(13, Bytes, false), // overload
        Known(14, Bytes, true),
    ],
};

pub const NODE: Schema = Schema {
    name: "NodeProto",
    fields: &[
        Known(1, Bytes, true),  // input
        Known(2, Bytes, true),  // output
        Known(3, Bytes, false), // name
        Known(4, Bytes, false), // op_type
        Known(5, Bytes, true),  // attribute
        Known(6, Bytes, false),
        Known(7, Bytes, false), // domain
        Known(8, Bytes, false), // overload
        Known(9, Bytes, true),
    ],
};

pub const ATTRIBUTE: Schema = Schema {
    name: "AttributeProto",
    fields: &[
        Known(1, Bytes, false),   // name
        Known(2, Fixed32, false), // f
        Known(3, Varint, false),  // i
        Known(4, Bytes, false),   // s
        Known(5, Bytes, false),   // t
        Known(6, Bytes, false),   // g
        Known(7, Fixed32, true),  // floats
        Known(8, Varint, true),   // ints
        Known(9, Bytes, true),    // strings
        Known(10, Bytes, true),   // tensors
        Known(11, Bytes, true),   // graphs
        Known(13, Bytes, false),
        Known(14, Bytes, false),
        Known(15, Bytes, true),
        Known(20, Varint, false), // type
        Known(21, Bytes, false),  // ref_attr_name
    ],
};

pub const TENSOR: Schema = Schema {
    name: "TensorProto",
    fields: &[
        Known(1, Varint, true),   // dims
        Known(2, Varint, false),  // data_type
        Known(4, Fixed32, true),  // float_data
        Known(5, Varint, true),   // int32_data
        Known(6, Bytes, true),    // string_data
        Known(7, Varint, true),   // int64_data
        Known(8, Bytes, false),   // name
        Known(9, Bytes, false),   // raw_data
        Known(10, Fixed64, true), // double_data
        Known(11, Varint, true),  // uint64_data
        Known(12, Bytes, false),
        Known(13, Bytes, true),   // external_data
        Known(14, Varint, false), // data_location
        Known(16, Bytes, true),
    ],
};

pub const VALUE_INFO: Schema = Schema {
    name: "ValueInfoProto",
    fields: &[
        Known(1, Bytes, false), // name
        Known(2, Bytes, false), // type
        Known(3, Bytes, false),
        Known(4, Bytes, true),
    ],
};

/// Only tensors are read further: what has another type can neither be fed nor be an answer.
pub const TYPE: Schema = Schema {
    name: "TypeProto",
    fields: &[
        Known(1, Bytes, false), // tensor_type
        Known(4, Bytes, false), // sequence_type
        Known(5, Bytes, false), // map_type
        Known(6, Bytes, false),
        Known(9, Bytes, false), // optional_type
    ],
};

pub const TENSOR_TYPE: Schema =
    Schema { name: "TypeProto.Tensor", fields: &[Known(1, Varint, false), Known(2, Bytes, false)] };

pub const SHAPE: Schema = Schema { name: "TensorShapeProto", fields: &[Known(1, Bytes, true)] };

pub const DIMENSION: Schema = Schema {
    name: "Dimension",
    fields: &[
        Known(1, Varint, false), // dim_value
        Known(2, Bytes, false),
        Known(3, Bytes, false),
    ],
};
