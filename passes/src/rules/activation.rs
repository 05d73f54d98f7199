//! Activations spelled out by exporters. The spellings differ in the order of the
//! products; constants are compared within 2⁻¹⁸, because √2 is written in many ways.

use super::{Exactness::*, ROW, Rhs, Rule};

/// The pattern with every spelling of √(2/π)·(x + 0.044715·x³).
macro_rules! of_cubic {
    ($before:literal, $after:literal) => {
        [
            // x + x·(x·(c·x)), x + c·x³, x·(1 + c·x²), and the root on the factor x
            concat!(
                $before,
                "(mul (add ?x (mul ?x (mul ?x (mul ?x ~0.044715)))) ~0.79788456)",
                $after
            ),
            concat!(
                $before,
                "(mul (add ?x (mul (mul ?x (mul ?x ?x)) ~0.044715)) ~0.79788456)",
                $after
            ),
            concat!(
                $before,
                "(mul (mul ?x (add (mul (mul ?x ?x) ~0.044715) #1)) ~0.79788456)",
                $after
            ),
            concat!(
                $before,
                "(mul (mul ?x ~0.79788456) (add (mul (mul ?x ?x) ~0.044715) #1))",
                $after
            ),
        ]
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "relu",
        lhs: &["(max ?x #0)"],
        rhs: Rhs::Text("(relu ?x)"),
        source: "definition",
        examples: &["(max x:f32[A,B] 0)", "(max 0 x:i32[A])"],
        ..ROW
    },
    Rule {
        name: "sigmoid",
        lhs: &["(recip (add (exp (neg ?x)) #1))"],
        rhs: Rhs::Text("(sigmoid ?x)"),
        class: Reassociates,
        source: "definition",
        examples: &[
            "(recip (add 1 (exp (neg x:f32[A,B]))))",
            "(div 1 (add (exp (neg x:f32[A,B])) 1))",
        ],
        ..ROW
    },
    Rule {
        name: "silu",
        lhs: &["(mul ?x (sigmoid ?x))", "(div ?x (add (exp (neg ?x)) #1))"],
        rhs: Rhs::Text("(silu ?x)"),
        class: Reassociates,
        source: "Elfwing et al., arXiv 1702.03118",
        examples: &[
            "(mul x:f32[A,B] (sigmoid x:f32[A,B]))",
            "(mul (sigmoid x:f32[A]) x:f32[A])",
            "(div x:f32[A] (add 1 (exp (neg x:f32[A]))))",
        ],
        ..ROW
    },
    Rule {
        name: "hard-swish",
        lhs: &[
            // x·clip(x+3, 0, 6)/6: PaddlePaddle; min and max in either order
            "(mul (mul ?x (min (max (add ?x #3) #0) #6)) ~0.16666667)",
            "(mul (mul ?x (max (min (add ?x #3) #6) #0)) ~0.16666667)",
            "(mul ?x (mul (min (max (add ?x #3) #0) #6) ~0.16666667))",
            "(mul ?x (mul (max (min (add ?x #3) #6) #0) ~0.16666667))",
            "(mul (mul ?x ~0.16666667) (min (max (add ?x #3) #0) #6))",
            "(mul (mul ?x ~0.16666667) (max (min (add ?x #3) #6) #0))",
            // x·HardSigmoid(x) with alpha = 1/6, beta = 1/2
            "(mul ?x (min (max (add (mul ?x ~0.16666667) #0.5) #0) #1))",
            "(mul ?x (max (min (add (mul ?x ~0.16666667) #0.5) #1) #0))",
            // ReLU6 as relu and min
            "(mul (mul ?x (min (relu (add ?x #3)) #6)) ~0.16666667)",
            "(mul ?x (mul (min (relu (add ?x #3)) #6) ~0.16666667))",
            "(mul ?x (min (relu (add (mul ?x ~0.16666667) #0.5)) #1))",
        ],
        rhs: Rhs::Text("(hard_swish ?x)"),
        class: Reassociates,
        source: "Howard et al., arXiv 1905.02244",
        examples: &[
            "(mul (mul x:f32[A,B] (min (max (add x:f32[A,B] 3) 0) 6)) 0.16666667)",
            "(div (mul x:f32[A,B] (max (min (add x:f32[A,B] 3) 6) 0)) 6)",
            "(mul x:f32[A] (min (max (add (mul x:f32[A] 0.16666667) 0.5) 0) 1))",
            "(mul x:f32[A] (div (min (max (add x:f32[A] 3) 0) 6) 6))",
            "(mul x:f32[A] (mul (min (relu (add x:f32[A] 3)) 6) 0.16666667))",
            "(mul x:f32[A] (min (relu (add 0.5 (mul x:f32[A] 0.16666667))) 1))",
        ],
        ..ROW
    },
    Rule {
        name: "gelu-erf",
        lhs: &[
            "(mul (mul ?x (add (erf (mul ?x ~0.70710678)) #1)) #0.5)",
            "(mul ?x (mul (add (erf (mul ?x ~0.70710678)) #1) #0.5))",
            "(mul (mul ?x #0.5) (add (erf (mul ?x ~0.70710678)) #1))",
            "(mul ?x (add (mul (erf (mul ?x ~0.70710678)) #0.5) #0.5))",
        ],
        rhs: Rhs::Text("(gelu_erf ?x)"),
        class: Reassociates,
        source: "Hendrycks and Gimpel, arXiv 1606.08415",
        examples: &[
            "(mul (mul x:f32[A,B] (add (erf (div x:f32[A,B] 1.4142135381698608)) 1)) 0.5)",
            "(mul x:f32[A,B] (mul 0.5 (add (erf (div x:f32[A,B] 1.41421353)) 1)))",
            "(mul (mul 0.5 x:f32[A]) (add 1 (erf (mul x:f32[A] 0.70710678))))",
            "(mul x:f32[A] (add 0.5 (mul 0.5 (erf (mul x:f32[A] 0.70710678)))))",
        ],
        ..ROW
    },
    Rule {
        name: "gelu-tanh",
        lhs: [
            // ½ in three places, and distributed over the sum
            of_cubic!("(mul ?x (mul (add (tanh ", ") #1) #0.5))"),
            of_cubic!("(mul (mul ?x #0.5) (add (tanh ", ") #1))"),
            of_cubic!("(mul (mul ?x (add (tanh ", ") #1)) #0.5)"),
            of_cubic!("(mul ?x (add (mul (tanh ", ") #0.5) #0.5))"),
        ]
        .as_flattened(),
        rhs: Rhs::Text("(gelu_tanh ?x)"),
        class: Reassociates,
        source: "Hendrycks and Gimpel, arXiv 1606.08415",
        examples: &[
            "(mul x:f32[A,B] (mul 0.5 (add 1 (tanh (mul 0.7978845834732056 (add x:f32[A,B] (mul x:f32[A,B] (mul x:f32[A,B] (mul 0.044714998453855515 x:f32[A,B])))))))))",
            "(mul (mul 0.5 x:f32[A]) (add 1 (tanh (mul 0.7978846 (add x:f32[A] (mul 0.044715 (mul x:f32[A] (mul x:f32[A] x:f32[A]))))))))",
            "(mul 0.5 (mul x:f32[A] (add 1 (tanh (mul 0.7978846 (mul x:f32[A] (add 1 (mul 0.044715 (mul x:f32[A] x:f32[A])))))))))",
            "(mul (mul 0.5 x:f32[A]) (add 1 (tanh (mul (mul 0.7978846 x:f32[A]) (add 1 (mul 0.044715 (pow x:f32[A] 2)))))))",
            "(mul (mul x:f32[A] 0.5) (add 1 (tanh (mul 0.7978846 (add x:f32[A] (mul 0.044715 (pow x:f32[A] 3)))))))",
            "(mul x:f32[A] (add 0.5 (mul 0.5 (tanh (mul 0.7978846 (add x:f32[A] (mul 0.044715 (pow x:f32[A] 3))))))))",
        ],
        ..ROW
    },
    Rule {
        name: "gelu-tanh-by-sigmoid",
        lhs: &[
            "(mul ?x (sigmoid (mul (add ?x (mul (mul ?x (mul ?x ?x)) ~0.044715)) ~1.59576912)))",
            "(mul ?x (sigmoid (mul (mul ?x (add (mul (mul ?x ?x) ~0.044715) #1)) ~1.59576912)))",
        ],
        rhs: Rhs::Text("(gelu_tanh ?x)"),
        class: Reassociates,
        source: "(1 + tanh z)/2 = sigmoid(2z)",
        examples: &[
            "(mul x:f32[A,B] (sigmoid (mul 1.5957691 (add x:f32[A,B] (mul 0.044715 (pow x:f32[A,B] 3))))))",
            "(mul x:f32[A] (sigmoid (mul 1.5957691 (mul x:f32[A] (add 1 (mul 0.044715 (mul x:f32[A] x:f32[A])))))))",
        ],
        ..ROW
    },
    Rule {
        name: "cube",
        lhs: &["(pow ?x #3)"],
        rhs: Rhs::Text("(mul ?x (mul ?x ?x))"),
        class: Reassociates,
        source: "PyTorch's NewGELU writes x³ with pow",
        examples: &["(pow x:f32[A,B] 3)"],
        ..ROW
    },
    Rule {
        name: "softplus",
        lhs: &["(log (add (exp ?x) #1))"],
        rhs: Rhs::Text("(softplus ?x)"),
        class: Approx(1e-5),
        source: "definition; the fused form does not overflow",
        examples: &["(log (add 1 (exp x:f32[A,B])))"],
        ..ROW
    },
    Rule {
        name: "mish",
        lhs: &["(mul ?x (tanh (softplus ?x)))"],
        rhs: Rhs::Text("(mish ?x)"),
        class: Reassociates,
        source: "Misra, arXiv 1908.08681",
        examples: &[
            "(mul x:f32[A,B] (tanh (softplus x:f32[A,B])))",
            "(mul x:f32[A] (tanh (log (add 1 (exp x:f32[A])))))",
        ],
        ..ROW
    },
];
