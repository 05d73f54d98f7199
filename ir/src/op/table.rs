//! The op table: one row per op. The text form, the documentation and
//! [`Op::name`] are generated from it, so a new op or attribute that is missing
//! here does not compile.

use super::attr_text::AttrText;
use super::*;
use crate::parse::{ParseError, Parser};
use crate::print::Printer;
use std::fmt::Write as _;

/// One row of the op table.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The printed name.
    pub name: &'static str,
    /// Family of the op.
    pub section: &'static str,
    /// Operands with their shapes; parentheses mark optional ones.
    pub operands: &'static str,
    /// Results with their shapes.
    pub results: &'static str,
    /// What it computes, in a line.
    pub doc: &'static str,
    /// Attributes in printed order.
    pub attributes: &'static [AttrInfo],
}

/// One attribute of an op.
#[derive(Clone, Copy, Debug)]
pub struct AttrInfo {
    /// The printed name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: &'static str,
}

/// `Variant`, `Variant [attr: Type]`, `Variant { attr: Type, … }` or
/// `Variant (Struct { attr: Type, … })`, then name, operands, results and doc.
macro_rules! op_table {
    ($( $section:literal {
        $( $variant:ident
            $( [ $one:ident : $one_ty:ty ] )?
            $( { $( $field:ident : $field_ty:ty ),* } )?
            $( ( $attrs:ident { $( $inner:ident : $inner_ty:ty ),* } ) )?
            = $name:literal, $operands:literal, $results:literal, $doc:literal; )*
    } )*) => {
        /// Rows of all ops but the scalar functions.
        const ROWS: &[OpInfo] = &[ $( $( OpInfo {
            name: $name,
            section: $section,
            operands: $operands,
            results: $results,
            doc: $doc,
            attributes: &[
                $( attr_info::<$one_ty>(stringify!($one)), )?
                $( $( attr_info::<$field_ty>(stringify!($field)), )* )?
                $( $( attr_info::<$inner_ty>(stringify!($inner)), )* )?
            ],
        }, )* )* ];

        impl Op {
            /// The printed name.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Unary(op) => op.name(),
                    Op::Binary(op) => op.name(),
                    $( $( op_table!(@any $variant $( [$one] )? $( { $($field),* } )? $( ($attrs) )?) => $name, )* )*
                }
            }

            /// Calls `f` for every dim in the attributes.
            pub fn for_each_dim(&self, f: &mut dyn FnMut(&Dim)) {
                match self {
                    Op::Unary(_) | Op::Binary(_) => {}
                    $( $( Op::$variant
                        $( ($one) )? $( { $($field),* } )? $( ($attrs { $($inner),* }) )? => {
                        $( $one.dims(f); )?
                        $( $( $field.dims(f); )* )?
                        $( $( $inner.dims(f); )* )?
                    } )* )*
                }
            }

            /// Calls `f` for every dim in the attributes, to replace it.
            pub fn for_each_dim_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
                match self {
                    Op::Unary(_) | Op::Binary(_) => {}
                    $( $( Op::$variant
                        $( ($one) )? $( { $($field),* } )? $( ($attrs { $($inner),* }) )? => {
                        $( $one.dims_mut(f); )?
                        $( $( $field.dims_mut(f); )* )?
                        $( $( $inner.dims_mut(f); )* )?
                    } )* )*
                }
            }
        }

        /// Prints the attributes of an op, regions included.
        pub(crate) fn print_attrs(op: &Op, p: &mut Printer<'_>) {
            match op {
                Op::Unary(_) | Op::Binary(_) => {}
                $( $( Op::$variant
                    $( ($one) )? $( { $($field),* } )? $( ($attrs { $($inner),* }) )? => {
                    $( p.attr(stringify!($one), $one); )?
                    $( $( p.attr(stringify!($field), $field); )* )?
                    $( $( p.attr(stringify!($inner), $inner); )* )?
                } )* )*
            }
        }

        /// Parses the attributes of the op called `name`; `None` for an unknown name.
        pub(crate) fn parse_op(name: &str, p: &mut Parser<'_>) -> Result<Option<Op>, ParseError> {
            Ok(Some(match name {
                $( $( $name => Op::$variant
                    $( (p.attr::<$one_ty>(stringify!($one))?) )?
                    $( { $( $field: p.attr::<$field_ty>(stringify!($field))? ),* } )?
                    $( ($attrs { $( $inner: p.attr::<$inner_ty>(stringify!($inner))? ),* }) )?, )* )*
                _ => match (UnaryOp::from_name(name), BinaryOp::from_name(name)) {
                    (Some(op), _) => Op::Unary(op),
                    (_, Some(op)) => Op::Binary(op),
                    _ => return Ok(None),
                },
            }))
        }
    };
    (@any $variant:ident) => { Op::$variant };
    (@any $variant:ident [$one:ident]) => { Op::$variant(_) };
    (@any $variant:ident { $($field:ident),* }) => { Op::$variant { .. } };
    (@any $variant:ident ($attrs:ident)) => { Op::$variant(_) };
}

const fn attr_info<T: AttrText>(name: &'static str) -> AttrInfo {
    AttrInfo { name, kind: T::KIND }
}

op_table! {
    "Leaves" {
        Const [value: ConstId] = "const", "", "T",
            "A constant tensor.";
        Fill { value: Scalar, shape: Shape } = "fill", "", "T[shape]",
            "One number everywhere.";
        DimValues { dims: Vec<Dim>, scalar: bool } = "dim_values", "", "i64[n] | i64[]",
            "The values of dims.";
        Iota { dtype: DType, shape: Shape, axis: usize } = "iota", "", "T[shape]",
            "Each element is its index along `axis`.";
        Random (RandomAttrs { distribution: Distribution, dtype: DType, shape: Shape, seed: u64 })
            = "random", "", "f[shape]",
            "Pseudo-random numbers; never merged with its equal.";
    }
    "Element-wise" {
        Select = "select", "cond: bool, a: T, b: T", "T",
            "`a` where `cond`, else `b`; broadcast.";
        Cast { to: DType } = "cast", "x: T", "to",
            "Float to int truncates and saturates, NaN gives 0; int to int wraps; to bool is `!= 0`.";
        BitCast { to: DType } = "bit_cast", "x: T", "to",
            "The same bits as elements of another dtype of that size, neither a half float.";
    }
    "Data movement" {
        Reshape { shape: Shape } = "reshape", "x: T", "T[shape]",
            "The same elements in row-major order.";
        Transpose { perm: Vec<usize> } = "transpose", "x: T", "T",
            "Result axis i is operand axis `perm[i]`.";
        Broadcast { shape: Shape } = "broadcast", "x: T", "T[shape]",
            "NumPy `broadcast_to`.";
        Concat { axis: usize } = "concat", "x…: T", "T",
            "Operands joined along `axis`.";
        Slice { ranges: Vec<SliceRange> } = "slice", "x: T", "T",
            "Element i of a sliced axis is operand element start + i·step.";
        Pad { pads: Vec<(Dim, Dim)>, mode: PadMode } = "pad", "x: T, value: T[]", "T",
            "Padded with `value` (constant) or with the operand's own elements.";
        Gather { axis: usize } = "gather", "x: T, index: i64|i32", "T[x[..axis],index,x[axis+1..]]",
            "Slices of `x` along `axis`; negative indices count from the end.";
        GatherElements { axis: usize } = "gather_elements", "x: T, index: i64|i32", "T[index]",
            "One element of `x` per element of the index.";
        GatherNd { batch_dims: usize } = "gather_nd", "x: T, index[.., k]: i64|i32", "T",
            "The last index axis addresses k axes of x after the batch dims.";
        ScatterElements { axis: usize, reduce: ScatterReduce } = "scatter_elements",
            "x: T, index: i64|i32, updates: T", "T",
            "x with updates written along `axis`.";
        ScatterNd { reduce: ScatterReduce } = "scatter_nd",
            "x: T, index[.., k]: i64|i32, updates: T", "T",
            "x with slices written at the addressed places.";
        Resize (ResizeAttrs {
            mode: ResizeMode, coordinates: ResizeCoordinates, nearest: NearestMode, shape: Shape,
            scales: Option<Vec<Scalar>>, roi: Vec<Scalar>, cubic_coeff: Scalar,
            exclude_outside: bool, extrapolation: Scalar, antialias: bool
        }) = "resize", "x: T", "T[shape]",
            "x at another resolution (ONNX Resize).";
        Pack { encoding: Encoding } = "pack", "x: T", "T:encoding",
            "The same logical elements in another encoding.";
    }
    "Strings" {
        TextConcat = "text_concat", "a: str, b: str", "str",
            "Joined; equal shapes.";
        TextCase { upper: bool } = "text_case", "x: str", "str",
            "In upper or lower case, whatever the language.";
        TextMatch { pattern: String } = "text_match", "x: str", "bool",
            "Whether the pattern (RE2) matches the whole string.";
        TextCount { delimiter: String, at_most: u64 } = "text_count", "x: str", "i64",
            "The number of parts after at most `at_most` splits; an empty delimiter is white space.";
        TextSplit { delimiter: String, at_most: u64, parts: Dim } = "text_split", "x: str",
            "str[x,parts]",
            "Those parts along a new last axis; empty strings fill up.";
    }
    "Reductions" {
        Reduce { op: ReduceOp, axes: Vec<usize>, keep_dims: bool } = "reduce", "x: T", "T",
            "Sum, mean, max, min or product over the axes.";
        ArgReduce { max: bool, axis: usize, keep_dims: bool, select_last: bool } = "arg_reduce",
            "x: T", "i64",
            "Index of the extreme element.";
        CumSum { axis: usize, exclusive: bool, reverse: bool } = "cum_sum", "x: T", "T",
            "Running sum.";
        TopK { k: Dim, axis: usize, largest: bool, sorted: bool } = "top_k", "x: T",
            "values: T, indices: i64",
            "The k extreme elements along `axis`.";
        NonZero { count: SymbolId } = "non_zero", "x: T", "i64[rank,count]",
            "Indices of the non-zero elements; binds `count`.";
        NonMaxSuppression { center_point_box: bool, count: SymbolId } = "non_max_suppression",
            "boxes: f32[B,N,4], scores: f32[B,C,N], max_per_class: i64[], iou: f32[], score: f32[]",
            "i64[count,3]",
            "Greedy box selection per class; binds `count`.";
    }
    "Contractions" {
        MatMul = "matmul", "a[..,M,K], b[..,K,N]", "T[..,M,N]",
            "Matrix product, leading dims broadcast; floats or wrapping i32.";
        Conv (ConvAttrs {
            strides: Vec<i64>, pads: Vec<(i64, i64)>, dilations: Vec<i64>, groups: i64,
            layout: ChannelLayout
        }) = "conv", "x[N,C,spatial…], w[O,C/g,spatial…] (, bias[O])", "T[N,O,…]",
            "Convolution; channels last when the layout says so.";
        ConvTranspose (ConvTransposeAttrs {
            strides: Vec<i64>, pads: Vec<(i64, i64)>, dilations: Vec<i64>,
            output_padding: Vec<i64>, groups: i64, layout: ChannelLayout
        }) = "conv_transpose", "x[N,C,spatial…], w[C,O/g,spatial…] (, bias[O])", "T[N,O,…]",
            "Transposed convolution.";
        Pool (PoolAttrs {
            kind: PoolKind, kernel: Vec<i64>, strides: Vec<i64>, pads: Vec<(i64, i64)>,
            dilations: Vec<i64>, ceil_mode: bool, layout: ChannelLayout
        }) = "pool", "x[N,C,spatial…]", "T[N,C,…] (, indices: i64)",
            "Max, average or Lp over sliding windows.";
    }
    "Composite" {
        Softmax { axis: usize } = "softmax", "x: f", "f",
            "exp(x − max) / Σ exp(x − max) along `axis`.";
        LayerNorm { axis: usize, epsilon: Scalar } = "layer_norm", "x: f, scale (, bias)", "f",
            "(x − mean)/√(var + eps)·scale + bias over the axes from `axis` on.";
        RmsNorm { axis: usize, epsilon: Scalar } = "rms_norm", "x: f, scale", "f",
            "x/√(mean(x²) + eps)·scale over the axes from `axis` on.";
        Attention (AttentionAttrs { scale: Scalar, causal: bool, zero_masked_rows: bool })
            = "attention", "q[B,H,S,D], k[B,G,T,D], v[B,G,T,E] (, mask → [B,H,S,T])", "f[B,H,S,E]",
            "softmax(scale·q·kᵀ + mask)·v, zeros where there are no keys; H is a multiple of G.";
        CacheAttention (CacheAttentionAttrs {
            layer: i64, max_positions: i64, scale: Scalar, window: Option<i64>,
            soft_cap: Option<Scalar>
        }) = "cache_attention", "q: f32[T,H,D], k[T,G,D], v[T,G,D], positions: i64[T]", "f32[T,H,D]",
            "Keys and values join the run's KV cache; each row attends to its sequence's, up to itself.";
        Lrn (LrnAttrs { size: i64, alpha: Scalar, beta: Scalar, bias: Scalar }) = "lrn",
            "x[N,C,…]", "f",
            "Local response normalisation over channels.";
        Lstm (RecurrentAttrs {
            direction: Direction, activations: Vec<Activation>, clip: Option<Scalar>,
            linear_before_reset: bool, input_forget: bool
        }) = "lstm",
            "x[S,B,I], w[D,4H,I], r[D,4H,H], b[D,8H], lens: i32[B], h0[D,B,H], c0[D,B,H], p[D,3H]",
            "y[S,D,B,H], h[D,B,H], c[D,B,H]",
            "LSTM; gates i, o, f, c.";
        Gru (RecurrentAttrs {
            direction: Direction, activations: Vec<Activation>, clip: Option<Scalar>,
            linear_before_reset: bool, input_forget: bool
        }) = "gru", "x[S,B,I], w[D,3H,I], r[D,3H,H], b[D,6H], lens: i32[B], h0[D,B,H]",
            "y[S,D,B,H], h[D,B,H]",
            "GRU; gates z, r, h.";
        Rnn (RecurrentAttrs {
            direction: Direction, activations: Vec<Activation>, clip: Option<Scalar>,
            linear_before_reset: bool, input_forget: bool
        }) = "rnn", "x[S,B,I], w[D,H,I], r[D,H,H], b[D,2H], lens: i32[B], h0[D,B,H]",
            "y[S,D,B,H], h[D,B,H]",
            "Plain recurrent layer.";
    }
    "Control flow, state, dynamic shapes" {
        If {
            then_region: RegionId, else_region: RegionId, dims: Vec<((usize, usize), SymbolId)>
        } = "if", "cond: bool[]", "results…",
            "The results of the chosen region; binds `((result, axis), symbol)` of `dims`.";
        Loop {
            body: RegionId, carried: usize, count: SymbolId, dims: Vec<(SymbolId, SymbolId)>
        } = "loop",
            "trip: i64[], cond: bool[], carried…", "carried…, scanned…",
            "Runs the body while `cond` and fewer than `trip` times; binds `count`, and of each `(inside, after)` of `dims` the one in the body, the other after it.";
        Scan (ScanAttrs {
            body: RegionId, states: usize, inputs: Vec<(usize, bool)>, outputs: Vec<(usize, bool)>
        }) = "scan", "state…, scanned…", "state…, stacked…",
            "Runs the body over slices (ONNX Scan).";
        BindDims { symbols: Vec<SymbolId>, mode: BindMode } = "bind_dims", "x: i64[n]", "",
            "Binds the elements to data-dependent symbols.";
        StateEmpty { ty: TensorType, axis: usize } = "state_empty", "", "resource<state>",
            "An empty tensor that grows along `axis`.";
        StateAppend = "state_append", "resource<state>, x", "resource<state>",
            "x appended; the operand is used up.";
        StateRead { ty: TensorType, length: SymbolId } = "state_read", "resource<state>", "ty",
            "What the state holds; binds `length`.";
    }
    "After fusion" {
        Group { kind: GroupKind, body: RegionId } = "group", "operands…", "results…",
            "One kernel; the body's parameters are the operands.";
    }
}

/// The rows of all ops, scalar functions included.
pub fn op_table() -> Vec<OpInfo> {
    let scalar = |name, operands, doc| OpInfo {
        name,
        section: "Element-wise",
        operands,
        results: "T",
        doc,
        attributes: &[],
    };
    let unary = UnaryOp::ALL.iter().map(|op| scalar(op.name(), "x: T", op.doc()));
    let binary = BinaryOp::ALL.iter().map(|op| scalar(op.name(), "a: T, b: T", op.doc()));
    let at = ROWS.iter().position(|r| r.section == "Element-wise").unwrap_or(0);
    let (before, after) = ROWS.split_at(at);
    before.iter().copied().chain(unary).chain(binary).chain(after.iter().copied()).collect()
}

/// The op table as Markdown, one table per section.
pub fn op_table_markdown() -> String {
    let mut out = String::from("# Ops\n\nGenerated from `ir/src/op/table.rs`.\n");
    let mut section = "";
    let cell = |text: &str| text.trim().replace('|', "\\|");
    for row in op_table() {
        if row.section != section {
            section = row.section;
            let head = "| op | operands | results | attributes | meaning |\n|---|---|---|---|---|";
            let _ = writeln!(out, "\n## {section}\n\n{head}");
        }
        let attrs: Vec<String> =
            row.attributes.iter().map(|a| format!("`{}`: {}", a.name, cell(a.kind))).collect();
        let (operands, results) = (cell(row.operands), cell(row.results));
        let (name, attrs, doc) = (row.name, attrs.join(", "), cell(row.doc));
        let _ = writeln!(out, "| `{name}` | {operands} | {results} | {attrs} | {doc} |");
    }
    out
}
