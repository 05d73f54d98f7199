//! Non-maximum suppression (ONNX).

use super::compute::Operands;
use super::error::OpError;
use super::tensor::Tensor;

/// Per batch entry and class: boxes with a score above the threshold, best first, are
/// selected unless they overlap a selected one by more than the IoU threshold.
pub(super) fn nms(args: &Operands, center_point_box: bool) -> Result<Tensor, OpError> {
    let (boxes, scores) = (args.floats(0)?, args.floats(1)?);
    let (&[batch, n, 4], &[batch2, classes, n2]) = (args.at(0)?.dims(), args.at(1)?.dims()) else {
        return Err(OpError::Shape("boxes must be [B,N,4] and scores [B,C,N]".into()));
    };
    if (batch, n) != (batch2, n2) {
        let (a, b) = (args.at(0)?.dims(), args.at(1)?.dims());
        return Err(OpError::Shape(format!("boxes {a:?} and scores {b:?} do not fit together")));
    }
    let most = args.ints(2)?;
    let &[most] = most.as_slice() else {
        return Err(OpError::Shape("max_per_class must have one element".into()));
    };
    let (iou_limit, score_limit) = (args.scalar(3)?, args.scalar(4)?);
    let corners: Vec<Corners> =
        boxes.chunks_exact(4).map(|b| Corners::new(b, center_point_box)).collect();
    let mut out = Vec::new();
    for b in 0..batch {
        for class in 0..classes {
            let scores = &scores[(b * classes + class) * n..][..n];
            let boxes = &corners[b * n..][..n];
            for index in select(scores, boxes, most, iou_limit, score_limit) {
                out.extend([b as i64, class as i64, index as i64]);
            }
        }
    }
    Tensor::new(&[out.len() / 3, 3], out)
}

fn select(
    scores: &[f64],
    boxes: &[Corners],
    most: i64,
    iou_limit: f64,
    score_limit: f64,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > score_limit).collect();
    // Stable: equal scores keep the lowest index first. NaN has been filtered out.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut chosen: Vec<usize> = Vec::new();
    for i in order {
        if chosen.len() as i64 >= most {
            break;
        }
        if chosen.iter().all(|&c| boxes[i].iou(&boxes[c]) <= iou_limit) {
            chosen.push(i);
        }
    }
    chosen
}

/// A box with ordered corners.
struct Corners {
    low: [f64; 2],
    high: [f64; 2],
}

impl Corners {
    /// From any two opposite corners `[y1, x1, y2, x2]`, or `[x, y, width, height]`.
    fn new(b: &[f64], center_point_box: bool) -> Self {
        let (p, q) = if center_point_box {
            let half = [b[2] / 2.0, b[3] / 2.0];
            ([b[0] - half[0], b[1] - half[1]], [b[0] + half[0], b[1] + half[1]])
        } else {
            ([b[0], b[1]], [b[2], b[3]])
        };
        Self { low: [p[0].min(q[0]), p[1].min(q[1])], high: [p[0].max(q[0]), p[1].max(q[1])] }
    }

    fn area(&self) -> f64 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Intersection over union; 0 for boxes without area.
    fn iou(&self, other: &Self) -> f64 {
        let side =
            |i: usize| (self.high[i].min(other.high[i]) - self.low[i].max(other.low[i])).max(0.0);
        let shared = side(0) * side(1);
        let union = self.area() + other.area() - shared;
        if shared > 0.0 && union > 0.0 { shared / union } else { 0.0 }
    }
}
