//! The book that `ledger` keeps: entries added up by transfer and by account.

use std::borrow::Cow;
use std::collections::HashMap;

use super::about::About;
use super::index::KeyHash;
use super::{Breach, Checked, Evidence};
use crate::history::{Item, Value};

/// Entries, added up.
pub(super) struct Book<'a> {
    /// Where in `transfers` each number's transfer is; [`ABSENT`] where there is none.
    places: Vec<u32>,
    /// Transfers with their numbers, in the order in which they were first met.
    transfers: Vec<(usize, Transfer)>,
    account_numbers: HashMap<Cow<'a, str>, u32, KeyHash>,
    accounts: Vec<Account>,
    total: i128,
}

const ABSENT: u32 = u32::MAX;

/// A transfer's legs, added up.
#[derive(Default)]
pub(super) struct Transfer {
    /// How many.
    pub legs: u32,
    /// Their sum.
    pub sum: i128,
    first_amount: u64,
    first_account: u32,
    amounts_differ: bool,
    accounts_differ: bool,
}

impl Transfer {
    /// Whether each leg is `asked` or its negative.
    pub(super) fn each_leg_is(&self, asked: i64) -> bool {
        !self.amounts_differ && self.first_amount == asked.unsigned_abs()
    }

    /// Whether every leg is on the same account.
    pub(super) fn within_one_account(&self) -> bool {
        !self.accounts_differ
    }

    fn enter(&mut self, account: u32, amount: i64) {
        if self.legs == 0 {
            self.first_amount = amount.unsigned_abs();
            self.first_account = account;
        }
        self.legs += 1;
        self.sum += i128::from(amount);
        self.amounts_differ |= self.first_amount != amount.unsigned_abs();
        self.accounts_differ |= self.first_account != account;
    }
}

#[derive(Default)]
struct Account {
    /// What the list of accounts says: initial value and balance. The house's own accounts are not in it.
    listed: Option<(i64, i64)>,
    sum: i128,
}

/// An entry: one leg of a transfer.
pub(super) struct Leg<'a> {
    transfer: usize,
    account: Cow<'a, str>,
    amount: i64,
}

impl<'a> Leg<'a> {
    /// An item as an entry, if it has all that an entry needs.
    pub(super) fn read(number: usize, item: &'a Item<'_>) -> Option<Self> {
        let account = match item.fields.get("account")? {
            Value::Text(name) => name,
            Value::Int(number) => Cow::Owned(number.to_string()),
            _ => return None,
        };
        Some(Self {
            transfer: number,
            account,
            amount: item.fields.get("amount")?.as_int()?,
        })
    }
}

impl<'a> Book<'a> {
    /// A book without entries.
    pub(super) fn new(evidence: &'a Evidence<'a>, accounts: &str, checked: &mut Checked) -> Self {
        let mut book = Self {
            places: vec![ABSENT; evidence.len()],
            transfers: Vec::new(),
            account_numbers: HashMap::default(),
            accounts: Vec::new(),
            total: 0,
        };
        for (_, item) in evidence.items(accounts) {
            book.open(item, checked);
        }
        book
    }

    fn open(&mut self, item: &'a Item<'_>, checked: &mut Checked) {
        let name = &item.element;
        let whole = |field| item.fields.get(field).and_then(|value| value.as_int());
        let (Some(initial), Some(balance)) = (whole("initial"), whole("balance")) else {
            checked.doubt(|| format!("account `{name}` has no whole `initial` and `balance`"));
            return;
        };
        if balance < 0 {
            checked.breach(Breach::Negative, About::element(name), || {
                format!("account `{name}` has the balance {balance}")
            });
        }
        let number = self.account_number(Cow::Borrowed(name));
        let account = &mut self.accounts[number as usize];
        if account.listed.is_some() {
            checked.breach(Breach::Duplicated, About::element(name), || {
                format!("account `{name}` is listed more than once")
            });
        }
        account.listed = Some((initial, balance));
    }

    fn account_number(&mut self, name: Cow<'a, str>) -> u32 {
        let next = self.accounts.len() as u32;
        let number = *self.account_numbers.entry(name).or_insert(next);
        if number == next {
            self.accounts.push(Account::default());
        }
        number
    }

    /// Adds an entry.
    pub(super) fn enter(&mut self, leg: Leg<'a>) {
        let account = self.account_number(leg.account);
        self.accounts[account as usize].sum += i128::from(leg.amount);
        self.total += i128::from(leg.amount);
        let place = &mut self.places[leg.transfer];
        if *place == ABSENT {
            *place = self.transfers.len() as u32;
            self.transfers.push((leg.transfer, Transfer::default()));
        }
        self.transfers[*place as usize].1.enter(account, leg.amount);
    }

    /// What is in the book of a number.
    pub(super) fn transfer(&self, number: usize) -> Option<&Transfer> {
        let place = *self.places.get(number)? as usize;
        self.transfers.get(place).map(|(_, transfer)| transfer)
    }

    /// Every transfer with its number.
    pub(super) fn transfers(&self) -> impl Iterator<Item = (usize, &Transfer)> {
        self.transfers.iter().map(|(number, transfer)| (*number, transfer))
    }

    /// What must hold of the sums of the whole book and of each account.
    pub(super) fn judge_sums(&self, checked: &mut Checked) {
        if self.total != 0 {
            checked.breach(Breach::Total, About::default(), || {
                format!("all entries together sum to {}", self.total)
            });
        }
        let mut named: Vec<(&str, &Account)> = Vec::new();
        for (name, number) in &self.account_numbers {
            let account = &self.accounts[*number as usize];
            if account.is_off() {
                named.push((name, account));
            }
        }
        // A hash map has no order to show.
        named.sort_unstable_by_key(|(name, _)| *name);
        for (name, account) in named {
            checked.breach(Breach::BalanceOff, About::element(name), || account.describe(name));
        }
    }
}

impl Account {
    fn is_off(&self) -> bool {
        self.listed
            .is_some_and(|(initial, balance)| i128::from(initial) + self.sum != i128::from(balance))
    }

    fn describe(&self, name: &str) -> String {
        let (initial, balance) = self.listed.unwrap_or_default();
        let should_be = i128::from(initial) + self.sum;
        format!(
            "account `{name}` has the balance {balance}, but its initial {initial} and its entries make {should_be}"
        )
    }
}
