//! Graphs with a planted leak, each with the op where it lies, and graphs without.

/// One graph: `x: f32[B,4]` unless it says otherwise.
pub struct Case {
    pub name: &'static str,
    /// Where entries meet.
    pub op: &'static str,
    params: &'static str,
    body: &'static str,
}

impl Case {
    /// The graph's text.
    pub fn text(&self) -> String {
        let params = if self.params.is_empty() { "%0 \"x\" : f32[B,4]" } else { self.params };
        let n = if self.body.contains(" n ")
            || self.body.contains("= n}")
            || self.body.contains("= n,")
        {
            "  symbol n in 0..=1000 data_dependent\n"
        } else {
            ""
        };
        let s = if params.contains('S') { "  symbol S in 1..=8\n" } else { "" };
        format!(
            "graph \"g\" {{\n  symbol B in 1..=8\n{s}{n}  body({params}) {{\n{}\n  }}\n}}\n",
            self.body
        )
    }
}

const fn leak(name: &'static str, op: &'static str, body: &'static str) -> Case {
    Case { name, op, params: "", body }
}

const fn of(name: &'static str, params: &'static str, body: &'static str) -> Case {
    Case { name, op: "", params, body }
}

pub const LEAKS: &[Case] = &[
    leak("mean of the batch", "reduce", "
    %1 = reduce(%0) {op = mean, axes = [0], keep_dims = true} : f32[1,4]
    %2 = sub(%0, %1) : f32[B,4]
    return %2 \"y\""),
    leak("one quantisation scale", "reduce", "
    %1 = abs(%0) : f32[B,4]
    %2 = reduce(%1) {op = max, axes = [0, 1], keep_dims = false} : f32[]
    %3 = div(%0, %2) : f32[B,4]
    %4 = round(%3) : f32[B,4]
    %5 = mul(%4, %2) : f32[B,4]
    return %5 \"y\""),
    leak("batch norm from the batch", "reduce", "
    %1 = reduce(%0) {op = mean, axes = [0], keep_dims = true} : f32[1,4]
    %2 = sub(%0, %1) : f32[B,4]
    %3 = mul(%2, %2) : f32[B,4]
    %4 = reduce(%3) {op = mean, axes = [0], keep_dims = true} : f32[1,4]
    %5 = rsqrt(%4) : f32[1,4]
    %6 = mul(%2, %5) : f32[B,4]
    return %6 \"y\""),
    leak("gather across", "gather", "
    %1 = iota() {dtype = i64, shape = [B], axis = 0} : i64[B]
    %2 = dim_values() {dims = [B], scalar = true} : i64[]
    %3 = fill() {value = i64(1), shape = []} : i64[]
    %4 = add(%1, %3) : i64[B]
    %5 = mod(%4, %2) : i64[B]
    %6 = gather(%0, %5) {axis = 0} : f32[B,4]
    return %6 \"y\""),
    leak("the number of another entry", "gather_nd", "
    %1 = iota() {dtype = i64, shape = [B, 1], axis = 0} : i64[B,1]
    %2 = dim_values() {dims = [B], scalar = true} : i64[]
    %3 = fill() {value = i64(1), shape = []} : i64[]
    %4 = add(%1, %3) : i64[B,1]
    %5 = mod(%4, %2) : i64[B,1]
    %6 = gather_nd(%0, %5) {batch_dims = 0} : f32[B,4]
    return %6 \"y\""),
    leak("numbers in the wrong column", "gather_nd", "
    %1 = iota() {dtype = i64, shape = [B, 1], axis = 0} : i64[B,1]
    %2 = fill() {value = i64(0), shape = [B, 1]} : i64[B,1]
    %3 = concat(%2, %1) {axis = 1} : i64[B,2]
    %4 = gather_nd(%0, %3) {batch_dims = 0} : f32[B]
    %5 = reshape(%4) {shape = [B, 1]} : f32[B,1]
    return %5 \"y\""),
    leak("softmax over the batch", "softmax", "
    %1 = softmax(%0) {axis = 0} : f32[B,4]
    return %1 \"y\""),
    leak("running sum over the batch", "cum_sum", "
    %1 = cum_sum(%0) {axis = 0, exclusive = false, reverse = false} : f32[B,4]
    return %1 \"y\""),
    leak("the batch sorted", "top_k", "
    %1, %2 = top_k(%0) {k = B, axis = 0, largest = true, sorted = true} : f32[B,4], i64[B,4]
    return %1 \"y\""),
    leak("rank in the batch", "arg_reduce", "
    %1 = arg_reduce(%0) {max = true, axis = 0, keep_dims = true, select_last = false} : i64[1,4]
    %2 = cast(%1) {to = f32} : f32[1,4]
    %3 = add(%0, %2) : f32[B,4]
    return %3 \"y\""),
    leak("a reshape that mixes", "reshape", "
    %1 = reshape(%0) {shape = [4, B]} : f32[4,B]
    %2 = transpose(%1) {perm = [1, 0]} : f32[B,4]
    return %2 \"y\""),
    leak("roll by slice and concat", "slice", "
    %1 = slice(%0) {ranges = [(0, 1, B-1, 1)]} : f32[B-1,4]
    %2 = slice(%0) {ranges = [(0, 0, 1, 1)]} : f32[1,4]
    %3 = concat(%1, %2) {axis = 0} : f32[B,4]
    return %3 \"y\""),
    leak("the batch backwards", "slice", "
    %1 = slice(%0) {ranges = [(0, B-1, B, -1)]} : f32[B,4]
    return %1 \"y\""),
    leak("the first entry for all", "slice", "
    %1 = slice(%0) {ranges = [(0, 0, 1, 1)]} : f32[1,4]
    %2 = add(%0, %1) : f32[B,4]
    return %2 \"y\""),
    leak("products of entries", "matmul", "
    %1 = transpose(%0) {perm = [1, 0]} : f32[4,B]
    %2 = matmul(%0, %1) : f32[B,B]
    return %2 \"y\""),
    leak("matmul over the batch", "matmul", "
    %1 = transpose(%0) {perm = [1, 0]} : f32[4,B]
    %2 = matmul(%1, %0) : f32[4,4]
    %3 = matmul(%0, %2) : f32[B,4]
    return %3 \"y\""),
    leak("hidden by transposes", "softmax", "
    %1 = transpose(%0) {perm = [1, 0]} : f32[4,B]
    %2 = neg(%1) : f32[4,B]
    %3 = softmax(%2) {axis = 1} : f32[4,B]
    %4 = transpose(%3) {perm = [1, 0]} : f32[B,4]
    return %4 \"y\""),
    leak("norm over the batch", "layer_norm", "
    %1 = transpose(%0) {perm = [1, 0]} : f32[4,B]
    %2 = fill() {value = f32(1.0), shape = [B]} : f32[B]
    %3 = layer_norm(%1, %2) {axis = 1, epsilon = f32(1e-5)} : f32[4,B]
    %4 = transpose(%3) {perm = [1, 0]} : f32[B,4]
    return %4 \"y\""),
    leak("convolution over the batch", "conv", "
    %1 = reshape(%0) {shape = [1, 1, B, 4]} : f32[1,1,B,4]
    %2 = fill() {value = f32(0.5), shape = [1, 1, 3, 1]} : f32[1,1,3,1]
    %3 = conv(%1, %2) {strides = [1, 1], pads = [(1, 1), (0, 0)], dilations = [1, 1], groups = 1, layout = first} : f32[1,1,B,4]
    %4 = reshape(%3) {shape = [B, 4]} : f32[B,4]
    return %4 \"y\""),
    leak("entries as channels of one group", "conv", "
    %1 = reshape(%0) {shape = [1, B, 2, 2]} : f32[1,B,2,2]
    %2 = fill() {value = f32(0.5), shape = [1, B, 1, 1]} : f32[1,B,1,1]
    %3 = conv(%1, %2) {strides = [1, 1], pads = [(0, 0), (0, 0)], dilations = [1, 1], groups = 1, layout = first} : f32[1,1,2,2]
    %4 = reshape(%3) {shape = [1, 4]} : f32[1,4]
    %5 = add(%0, %4) : f32[B,4]
    return %5 \"y\""),
    leak("pooling over the batch", "pool", "
    %1 = reshape(%0) {shape = [1, 1, B, 4]} : f32[1,1,B,4]
    %2 = pool(%1) {kind = max(false, false), kernel = [3, 1], strides = [1, 1], pads = [(1, 1), (0, 0)], dilations = [1, 1], ceil_mode = false, layout = first} : f32[1,1,B,4]
    %3 = reshape(%2) {shape = [B, 4]} : f32[B,4]
    return %3 \"y\""),
    leak("attention over the batch", "attention", "
    %1 = reshape(%0) {shape = [1, 1, B, 4]} : f32[1,1,B,4]
    %2 = attention(%1, %1, %1) {scale = f32(0.5), causal = false, zero_masked_rows = false} : f32[1,1,B,4]
    %3 = reshape(%2) {shape = [B, 4]} : f32[B,4]
    return %3 \"y\""),
    leak("places that entries choose", "scatter_elements", "
    %1 = cast(%0) {to = i64} : i64[B,4]
    %2 = dim_values() {dims = [B], scalar = true} : i64[]
    %3 = mod(%1, %2) : i64[B,4]
    %4 = fill() {value = f32(0.0), shape = [B, 4]} : f32[B,4]
    %5 = scatter_elements(%4, %3, %0) {axis = 0, reduce = add} : f32[B,4]
    return %5 \"y\""),
    leak("sums over the batch by a scan", "scan", "
    %1 = fill() {value = f32(0.0), shape = [4]} : f32[4]
    %5, %6 = scan(%1, %0) {body = region(%2 : f32[4], %3 : f32[4]) {
      %4 = add(%2, %3) : f32[4]
      return %4, %4
    }, states = 1, inputs = [(0, false)], outputs = [(0, false)]} : f32[4], f32[B,4]
    return %6 \"y\""),
    leak("the number of positive elements", "non_zero", "
    %1 = relu(%0) : f32[B,4]
    %2 = non_zero(%1) {count = n} : i64[2,n]
    %3 = dim_values() {dims = [n], scalar = true} : i64[]
    %4 = cast(%3) {to = f32} : f32[]
    %5 = add(%0, %4) : f32[B,4]
    return %5 \"y\""),
    leak("inside of a group", "reduce", "
    %4 = group(%0) {kind = map, body = region(%1 : f32[B,4]) {
      %2 = reduce(%1) {op = sum, axes = [0], keep_dims = true} : f32[1,4]
      %3 = add(%1, %2) : f32[B,4]
      return %3
    }} : f32[B,4]
    return %4 \"y\""),
    Case { name: "inside of a branch", op: "reduce", params: "%0 \"x\" : f32[B,4], %1 \"c\" : bool[]", body: "
    %4 = if(%1) {then_region = region() {
      %2 = reduce(%0) {op = sum, axes = [0], keep_dims = true} : f32[1,4]
      %3 = add(%0, %2) : f32[B,4]
      return %3
    }, else_region = region() {
      return %0
    }, dims = []} : f32[B,4]
    return %4 \"y\"" },
    leak("which branch", "reduce", "
    %1 = reduce(%0) {op = max, axes = [0, 1], keep_dims = false} : f32[]
    %2 = fill() {value = f32(3.0), shape = []} : f32[]
    %3 = gt(%1, %2) : bool[]
    %5 = if(%3) {then_region = region() {
      %4 = neg(%0) : f32[B,4]
      return %4
    }, else_region = region() {
      return %0
    }, dims = []} : f32[B,4]
    return %5 \"y\""),
    Case { name: "inside of a loop, an iteration later", op: "cum_sum", params: "%0 \"x\" : f32[B,4], %1 \"trip\" : i64[], %2 \"go\" : bool[]", body: "
    %3 = fill() {value = f32(0.0), shape = [B, 4]} : f32[B,4]
    %9, %10 = loop(%1, %2, %0, %3) {body = region(%4 : i64[], %5 : bool[], %6 : f32[B,4], %7 : f32[B,4]) {
      %8 = cum_sum(%6) {axis = 0, exclusive = true, reverse = false} : f32[B,4]
      return %5, %6, %8
    }, carried = 2, count = n, dims = []} : f32[B,4], f32[B,4]
    return %10 \"y\"" },
    Case { name: "how often", op: "reduce", params: "%0 \"x\" : f32[B,4], %1 \"go\" : bool[]", body: "
    %2 = reduce(%0) {op = max, axes = [0, 1], keep_dims = false} : f32[]
    %3 = cast(%2) {to = i64} : i64[]
    %8 = loop(%3, %1, %0) {body = region(%4 : i64[], %5 : bool[], %6 : f32[B,4]) {
      %7 = add(%6, %6) : f32[B,4]
      return %5, %7
    }, carried = 1, count = n, dims = []} : f32[B,4]
    return %8 \"y\"" },
];

pub const ISOLATED: &[Case] = &[
    of("rows by themselves", "", "
    %1 = softmax(%0) {axis = 1} : f32[B,4]
    %2 = reduce(%1) {op = max, axes = [1], keep_dims = true} : f32[B,1]
    %3 = mul(%0, %2) : f32[B,4]
    %4 = cum_sum(%3) {axis = 1, exclusive = false, reverse = false} : f32[B,4]
    return %4 \"y\""),
    of("rows of all entries in one matrix", "%0 \"x\" : f32[B,S,4], %1 \"w\" : f32[4,6]", "
    %2 = reshape(%0) {shape = [B*S, 4]} : f32[B*S,4]
    %3 = matmul(%2, %1) : f32[B*S,6]
    %4 = gelu_erf(%3) : f32[B*S,6]
    %5 = reshape(%4) {shape = [B, S, 6]} : f32[B,S,6]
    %6 = reduce(%5) {op = mean, axes = [1], keep_dims = false} : f32[B,6]
    return %6 \"y\", %4 \"rows\""),
    of("time first", "%0 \"x\" : f32[B,S,4]", "
    %1 = transpose(%0) {perm = [1, 0, 2]} : f32[S,B,4]
    %2 = reshape(%1) {shape = [S*B, 4]} : f32[S*B,4]
    %3 = softmax(%2) {axis = 1} : f32[S*B,4]
    %4 = reshape(%3) {shape = [S, B, 2, 2]} : f32[S,B,2,2]
    %5 = cum_sum(%4) {axis = 0, exclusive = false, reverse = false} : f32[S,B,2,2]
    return %5 \"y\""),
    of("heads beside entries", "%0 \"x\" : f32[B,S,4]", "
    %1 = reshape(%0) {shape = [B, S, 2, 2]} : f32[B,S,2,2]
    %2 = transpose(%1) {perm = [0, 2, 1, 3]} : f32[B,2,S,2]
    %3 = reshape(%2) {shape = [2*B, S, 2]} : f32[2*B,S,2]
    %4 = transpose(%3) {perm = [0, 2, 1]} : f32[2*B,2,S]
    %5 = matmul(%3, %4) : f32[2*B,S,S]
    %6 = softmax(%5) {axis = 2} : f32[2*B,S,S]
    %7 = matmul(%6, %3) : f32[2*B,S,2]
    %8 = reshape(%7) {shape = [B, 2, S, 2]} : f32[B,2,S,2]
    return %8 \"y\""),
    of("attention with a mask", "%0 \"x\" : f32[B,2,S,4], %1 \"m\" : f32[B,1,1,S]", "
    %2 = slice(%0) {ranges = [(1, 0, 1, 1)]} : f32[B,1,S,4]
    %3 = attention(%0, %2, %2, %1) {scale = f32(0.5), causal = true, zero_masked_rows = true} : f32[B,2,S,4]
    return %3 \"y\""),
    of("the batch twice and back", "", "
    %1 = neg(%0) : f32[B,4]
    %2 = concat(%0, %1) {axis = 0} : f32[2*B,4]
    %3 = exp(%2) : f32[2*B,4]
    %4 = slice(%3) {ranges = [(0, 0, B, 1)]} : f32[B,4]
    %5 = slice(%3) {ranges = [(0, B, B, 1)]} : f32[B,4]
    %6 = add(%4, %5) : f32[B,4]
    return %6 \"y\""),
    of("every second row of each entry", "%0 \"x\" : f32[B,4,3]", "
    %1 = reshape(%0) {shape = [4*B, 3]} : f32[4*B,3]
    %2 = slice(%1) {ranges = [(0, 1, 2*B, 2)]} : f32[2*B,3]
    %3 = reshape(%2) {shape = [B, 2, 3]} : f32[B,2,3]
    return %3 \"y\""),
    of("a small convolutional net", "%0 \"x\" : f32[B,2,S,S], %1 \"w\" : f32[4,1,3,3], %2 \"b\" : f32[4]", "
    %3 = conv(%0, %1, %2) {strides = [1, 1], pads = [(1, 1), (1, 1)], dilations = [1, 1], groups = 2, layout = first} : f32[B,4,S,S]
    %4 = pool(%3) {kind = max(false, false), kernel = [2, 2], strides = [1, 1], pads = [(1, 0), (1, 0)], dilations = [1, 1], ceil_mode = false, layout = first} : f32[B,4,S,S]
    %5 = resize(%4) {mode = linear, coordinates = half_pixel, nearest = floor, shape = [B, 4, 2*S, 2*S], scales = [f32(1.0), f32(1.0), f32(2.0), f32(2.0)], roi = [], cubic_coeff = f32(-0.75), exclude_outside = false, extrapolation = f32(0.0), antialias = false} : f32[B,4,2*S,2*S]
    %6 = reshape(%5) {shape = [B, 4, 4*S*S]} : f32[B,4,4*S*S]
    %7 = transpose(%6) {perm = [0, 2, 1]} : f32[B,4*S*S,4]
    return %7 \"y\""),
    of("entries as groups of channels", "%0 \"x\" : f32[B,2,4]", "
    %1 = transpose(%0) {perm = [1, 0, 2]} : f32[2,B,4]
    %2 = fill() {value = f32(0.0), shape = []} : f32[]
    %3 = pad(%1, %2) {pads = [(0, 0), (0, 0), (1, 1)], mode = constant} : f32[2,B,6]
    %4 = pool(%3) {kind = average(true), kernel = [3], strides = [1], pads = [(0, 0)], dilations = [1], ceil_mode = false, layout = first} : f32[2,B,4]
    return %4 \"y\""),
    of("embeddings and the first token", "%0 \"x\" : i64[B,S], %1 \"table\" : f32[4,6]", "
    %2 = gather(%1, %0) {axis = 0} : f32[B,S,6]
    %3 = fill() {value = i64(0), shape = []} : i64[]
    %4 = gather(%2, %3) {axis = 1} : f32[B,6]
    return %4 \"y\", %2 \"all\""),
    of("each entry looks into itself", "%0 \"x\" : f32[B,4], %1 \"i\" : i64[B,2]", "
    %2 = gather_elements(%0, %1) {axis = 1} : f32[B,2]
    %3 = reshape(%1) {shape = [B, 2, 1]} : i64[B,2,1]
    %4 = gather_nd(%0, %3) {batch_dims = 1} : f32[B,2]
    %5 = add(%2, %4) : f32[B,2]
    %6 = scatter_elements(%0, %1, %5) {axis = 1, reduce = none} : f32[B,4]
    return %6 \"y\""),
    of("each entry by its number", "%0 \"x\" : f32[B,4], %1 \"i\" : i64[B]", "
    %2 = iota() {dtype = i32, shape = [B], axis = 0} : i32[B]
    %3 = cast(%2) {to = i64} : i64[B]
    %4 = reshape(%3) {shape = [B, 1]} : i64[B,1]
    %5 = reshape(%1) {shape = [B, 1]} : i64[B,1]
    %6 = concat(%4, %5) {axis = 1} : i64[B,2]
    %7 = gather_nd(%0, %6) {batch_dims = 0} : f32[B]
    %8 = gather(%0, %3) {axis = 0} : f32[B,4]
    %9 = neg(%7) : f32[B]
    %10 = scatter_nd(%8, %6, %9) {reduce = none} : f32[B,4]
    return %7 \"y\", %10 \"z\""),
    of("a branch that all share", "%0 \"x\" : f32[B,4], %1 \"c\" : bool[]", "
    %3 = if(%1) {then_region = region() {
      %2 = neg(%0) : f32[B,4]
      return %2
    }, else_region = region() {
      return %0
    }, dims = []} : f32[B,4]
    return %3 \"y\""),
    of("a loop and what it stacks", "%0 \"x\" : f32[B,4], %1 \"trip\" : i64[], %2 \"go\" : bool[]", "
    %3 = fill() {value = f32(0.0), shape = [B, 4]} : f32[B,4]
    %8, %9 = loop(%1, %2, %3) {body = region(%4 : i64[], %5 : bool[], %6 : f32[B,4]) {
      %7 = add(%6, %0) : f32[B,4]
      return %5, %7, %7
    }, carried = 1, count = n, dims = []} : f32[B,4], f32[n,B,4]
    return %9 \"y\""),
    of("a scan along time", "%0 \"x\" : f32[B,S,4]", "
    %1 = fill() {value = f32(0.0), shape = [B, 4]} : f32[B,4]
    %5, %6 = scan(%1, %0) {body = region(%2 : f32[B,4], %3 : f32[B,4]) {
      %4 = add(%2, %3) : f32[B,4]
      return %4, %4
    }, states = 1, inputs = [(1, false)], outputs = [(1, true)]} : f32[B,4], f32[B,S,4]
    return %6 \"y\""),
    of("a recurrent layer", "%0 \"x\" : f32[B,S,4], %1 \"w\" : f32[1,3,4], %2 \"r\" : f32[1,3,3], %3 \"b\" : f32[1,6]", "
    %4 = transpose(%0) {perm = [1, 0, 2]} : f32[S,B,4]
    %5 = fill() {value = i32(4), shape = [B]} : i32[B]
    %6 = fill() {value = f32(0.0), shape = [1, B, 3]} : f32[1,B,3]
    %7, %8 = rnn(%4, %1, %2, %3, %5, %6) {direction = forward, activations = [(tanh, f32(0.0), f32(0.0))], clip = none, linear_before_reset = false, input_forget = false} : f32[S,1,B,3], f32[1,B,3]
    return %7 \"y\", %8 \"h\""),
];
