//! Statements.

use super::{ParseError, Parser, Token};
use crate::kernel::print::row_name;
use crate::kernel::{Expr, LoopKind, RowReduce, Stmt};
use crate::op::{BinaryOp, UnaryOp};
use cascata_types::Dim;

impl<'a> Parser<'a> {
    /// `{ statement* }`.
    pub(super) fn body(&mut self) -> Result<Vec<Stmt>, ParseError> {
        self.expect("{")?;
        let mut body = Vec::new();
        while !self.at_sign("}") {
            body.push(self.deeper(Self::stmt)?);
        }
        self.advance()?;
        Ok(body)
    }

    fn stmt(&mut self) -> Result<Stmt, ParseError> {
        match self.token {
            Token::Buffer(_) => {
                let place = self.place()?;
                self.expect("=")?;
                Ok(Stmt::store(place.buffer, place.at, self.expr()?))
            }
            Token::Word(word) => self.keyword_stmt(word),
            _ => Err(self.expected("a statement")),
        }
    }

    fn keyword_stmt(&mut self, word: &str) -> Result<Stmt, ParseError> {
        let read = match word {
            "for" => Self::for_loop,
            "bind" => Self::bind,
            "let" => Self::declare,
            "if" => Self::branch,
            "check" => Self::check,
            "gemm" => Self::gemm,
            "dwconv" => Self::dw_conv,
            "pack_b" => Self::pack_b,
            "map_row" => Self::map_row,
            "reduce_row" => Self::reduce_row,
            "exp_sum" => Self::exp_sum,
            "barrier" => |_: &mut Self| Ok(Stmt::Barrier),
            "group_reduce" => Self::group_reduce,
            "tile_attention" => Self::tile_attention,
            "tile_gemm" => Self::tile_gemm,
            _ => return self.change(),
        };
        self.advance()?;
        read(self)
    }

    fn for_loop(&mut self) -> Result<Stmt, ParseError> {
        let var = self.symbol()?;
        self.expect_word("in")?;
        if self.integer()? != 0 {
            return Err(self.error("a loop starts at 0"));
        }
        self.expect("..")?;
        let extent = self.dim()?;
        let kind = if self.eat_word("vector")? {
            LoopKind::Vector
        } else if self.eat_word("threads")? {
            LoopKind::Threads
        } else {
            LoopKind::Serial
        };
        Ok(Stmt::loop_of(kind, var, extent, self.body()?))
    }

    fn bind(&mut self) -> Result<Stmt, ParseError> {
        let symbol = self.symbol()?;
        self.expect("=")?;
        Ok(Stmt::bind(symbol, self.expr()?))
    }

    fn declare(&mut self) -> Result<Stmt, ParseError> {
        let local = self.local()?;
        self.expect("=")?;
        Ok(Stmt::declare(local, self.expr()?))
    }

    /// `local = e` or `local op= e`.
    fn change(&mut self) -> Result<Stmt, ParseError> {
        let local = self.local()?;
        let op = match self.token {
            Token::Word(word) => match BinaryOp::from_name(word) {
                None => return Err(self.expected("'=' or an op such as 'add'")),
                op => {
                    self.advance()?;
                    op
                }
            },
            _ => None,
        };
        self.expect("=")?;
        let value = self.expr()?;
        Ok(match op {
            Some(op) => Stmt::reduce(local, op, value),
            None => Stmt::assign(local, value),
        })
    }

    fn branch(&mut self) -> Result<Stmt, ParseError> {
        let cond = self.expr()?;
        let then = self.body()?;
        let otherwise = if self.eat_word("else")? { self.body()? } else { Vec::new() };
        Ok(Stmt::branch(cond, then, otherwise))
    }

    fn check(&mut self) -> Result<Stmt, ParseError> {
        let cond = self.expr()?;
        self.expect_word("else")?;
        let message = match self.token {
            Token::Word(word) => word.strip_prefix('m').and_then(|n| n.parse().ok()),
            _ => None,
        };
        let message = message.ok_or_else(|| self.expected("a message such as m0"))?;
        self.advance()?;
        Ok(Stmt::Check { cond, message })
    }

    fn map_row(&mut self) -> Result<Stmt, ParseError> {
        let op = match self.token {
            Token::Word(word) => UnaryOp::from_name(word),
            _ => None,
        };
        let op = op.ok_or_else(|| self.expected("a function such as 'exp'"))?;
        self.advance()?;
        let dst = self.place()?;
        self.expect("<-")?;
        let src = self.place()?;
        Ok(Stmt::MapRow { op, dst, src, n: self.row_len()? })
    }

    fn reduce_row(&mut self) -> Result<Stmt, ParseError> {
        let all = [RowReduce::Sum, RowReduce::SumSq, RowReduce::Max];
        let op = all.into_iter().find(|op| self.at_word(row_name(*op)));
        let op = op.ok_or_else(|| self.expected("'sum', 'sum_sq' or 'max'"))?;
        self.advance()?;
        let local = self.local()?;
        self.expect("<-")?;
        let src = self.place()?;
        Ok(Stmt::ReduceRow { local, op, src, n: self.row_len()? })
    }

    fn exp_sum(&mut self) -> Result<Stmt, ParseError> {
        let local = self.local()?;
        self.expect(",")?;
        let dst = self.place()?;
        self.expect("<-")?;
        let src = self.place()?;
        let n = self.row_len()?;
        Ok(Stmt::ExpSum { local, dst, src, n, bias: self.labelled_expr("bias")? })
    }

    fn group_reduce(&mut self) -> Result<Stmt, ParseError> {
        let op = match self.token {
            Token::Word(word) => BinaryOp::from_name(word),
            _ => None,
        };
        let op = op.ok_or_else(|| self.expected("an op such as 'add'"))?;
        self.advance()?;
        let local = self.local()?;
        self.expect("<-")?;
        let value = self.expr()?;
        self.label("width")?;
        let width =
            u32::try_from(self.integer()?).map_err(|_| self.error("a width is 1 or more"))?;
        Ok(Stmt::GroupReduce { local, op, value, width })
    }

    fn row_len(&mut self) -> Result<Dim, ParseError> {
        self.label("n")?;
        self.dim()
    }

    fn labelled_expr(&mut self, label: &str) -> Result<Expr, ParseError> {
        self.label(label)?;
        self.expr()
    }

    /// `, label:`.
    fn label(&mut self, label: &str) -> Result<(), ParseError> {
        self.expect(",")?;
        self.expect_word(label)?;
        self.expect(":")
    }
}
