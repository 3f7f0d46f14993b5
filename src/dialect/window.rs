//! Window functions, windows and their frames.
//!
//! ```text
//! lag(x, 1, 'none') OVER w ──▶ COALESCE(LAG(x, 1) OVER w, 'none'), where x is never NULL
//! ```
//!
//! Invariant: a frame that MySQL does not have, or counts otherwise, is refused.

use sqlparser::ast::{
    Expr, Function, FunctionArgumentList, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowSpec,
};

use crate::dialect::aggregate::{Call, bare};
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Typed, around, fill, join};
use crate::dialect::types::Type;
use crate::value::Value;

impl Translator<'_> {
    pub(super) fn window_function(
        &mut self,
        name: &str,
        list: &FunctionArgumentList,
        function: &Function,
    ) -> Result<Call, Refused> {
        let args = super::function::plain_arguments(list, name)?;
        let args: Vec<Typed> = args.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        let int8 = |text: &str| bare(Typed::sql(Text::sql(text), Type::int8(), false));
        match (name, &args[..]) {
            ("row_number", []) => int8("ROW_NUMBER()"),
            ("rank", []) => int8("RANK()"),
            ("dense_rank", []) => int8("DENSE_RANK()"),
            ("first_value" | "last_value", [value]) => {
                let value = self.settle(value.clone())?;
                let text = self.text(&value)?;
                let text = around(&format!("{}(", name.to_ascii_uppercase()), text, ")");
                bare(Typed::sql(text, value.ty.clone(), true).with_repr(value.repr))
            }
            ("lag" | "lead", [value, rest @ ..]) => self.neighbour(name, value, rest, function),
            _ => Err(unsupported(&format!("window function {name}"))),
        }
    }

    /// lag and lead; MariaDB's have no default, so that is what a row number tells.
    fn neighbour(
        &mut self,
        name: &str,
        value: &Typed,
        rest: &[Typed],
        function: &Function,
    ) -> Result<Call, Refused> {
        let upper = name.to_ascii_uppercase();
        let distance = match rest.first() {
            None => 1,
            Some(typed) => match typed.value() {
                Some(Value::Int(distance @ 0..=1_000_000)) => *distance,
                _ => return Err(unsupported(&format!("{name} by what is not a constant"))),
            },
        };
        let Some(otherwise) = rest.get(1) else {
            let value = self.settle(value.clone())?;
            let text = self.text(&value)?;
            let text = around(&format!("{upper}("), text, &format!(", {distance})"));
            return bare(Typed::sql(text, value.ty.clone(), true).with_repr(value.repr));
        };
        let (both, ty) = self.unify(vec![value.clone(), otherwise.clone()], name)?;
        let nullable = both.iter().any(|typed| typed.nullable);
        let texts = [self.text(&both[0])?, self.text(&both[1])?];
        if both[0].nullable {
            return Err(unsupported(&format!("{name} with a default of what may be NULL")));
        }
        if function.over.is_none() {
            return Err(unsupported(name));
        }
        let text = fill(&format!("{upper}({{0}}, {distance})"), &texts[..1]);
        let typed = Typed::sql(text, ty, nullable);
        // COALESCE goes around the window.
        Ok((typed, Text::sql("COALESCE("), around(", ", texts[1].clone(), ")")))
    }

    pub(super) fn window(&mut self, spec: &WindowSpec) -> Result<Text, Refused> {
        let mut text = Text::sql("(");
        if let Some(name) = &spec.window_name {
            text.push(&crate::names::quote_mysql(&super::names::fold(name)));
            text.push(" ");
        }
        if !spec.partition_by.is_empty() {
            let mut keys = Vec::new();
            for expr in &spec.partition_by {
                let typed = self.expr(expr)?;
                let typed = self.settle(typed)?;
                keys.push(self.distinct_text(&typed)?);
            }
            text.append(around("PARTITION BY ", join(keys, ", "), " "));
        }
        if !spec.order_by.is_empty() {
            let mut keys = Vec::new();
            for item in &spec.order_by {
                let typed = self.expr(&item.expr)?;
                let typed = self.settle(typed)?;
                keys.extend(self.sort_keys(&typed, item)?);
            }
            text.append(around("ORDER BY ", join(keys, ", "), " "));
        }
        if let Some(frame) = &spec.window_frame {
            text.push(&frame_text(frame)?);
        }
        text.push(")");
        Ok(text)
    }

    pub(super) fn named_windows(
        &mut self,
        windows: &[sqlparser::ast::NamedWindowDefinition],
    ) -> Result<Text, Refused> {
        let mut texts = Vec::new();
        for definition in windows {
            let sqlparser::ast::NamedWindowExpr::WindowSpec(spec) = &definition.1 else {
                return Err(unsupported("a window that is another's name"));
            };
            let name = crate::names::quote_mysql(&super::names::fold(&definition.0));
            texts.push(around(&format!("{name} AS "), self.window(spec)?, ""));
        }
        Ok(if texts.is_empty() {
            Text::default()
        } else {
            around(" WINDOW ", join(texts, ", "), "")
        })
    }
}

fn frame_text(frame: &WindowFrame) -> Result<String, Refused> {
    let bound = |bound: &WindowFrameBound| {
        Ok::<_, Refused>(match bound {
            WindowFrameBound::CurrentRow => "CURRENT ROW".to_owned(),
            WindowFrameBound::Preceding(None) => "UNBOUNDED PRECEDING".to_owned(),
            WindowFrameBound::Following(None) => "UNBOUNDED FOLLOWING".to_owned(),
            WindowFrameBound::Preceding(Some(expr)) => format!("{} PRECEDING", whole(expr)?),
            WindowFrameBound::Following(Some(expr)) => format!("{} FOLLOWING", whole(expr)?),
        })
    };
    let units = match frame.units {
        WindowFrameUnits::Rows => "ROWS",
        WindowFrameUnits::Range => "RANGE",
        WindowFrameUnits::Groups => return Err(unsupported("a window frame of GROUPS")),
    };
    let start = bound(&frame.start_bound)?;
    if units == "RANGE"
        && [Some(&frame.start_bound), frame.end_bound.as_ref()].iter().flatten().any(|b| {
            matches!(b, WindowFrameBound::Preceding(Some(_)) | WindowFrameBound::Following(Some(_)))
        })
    {
        return Err(unsupported("a window frame of RANGE with a distance"));
    }
    Ok(match &frame.end_bound {
        None => format!("{units} {start}"),
        Some(end) => format!("{units} BETWEEN {start} AND {}", bound(end)?),
    })
}

/// Digits alone.
fn whole(expr: &Expr) -> Result<String, Refused> {
    match expr {
        Expr::Value(value) => match &value.value {
            sqlparser::ast::Value::Number(digits, _)
                if digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Ok(digits.clone())
            }
            _ => Err(unsupported("a window frame by what is not a constant")),
        },
        _ => Err(unsupported("a window frame by what is not a constant")),
    }
}
