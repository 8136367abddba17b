//! Has images judged, several at a time. Each worker has a judge, which follows the tape.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use tape::history::Block;
use tape::{Image, Volume};

use super::check::Check;
use super::judge::{Judge, Verdict};

/// An image to judge.
pub struct Job {
    /// Where power goes.
    pub place: u64,
    /// What is left.
    pub image: Image,
    /// What was acknowledged before, a line each.
    pub acks: Arc<String>,
}

/// Images with what was said of them.
pub type Judged = Vec<(Job, Verdict)>;

/// Blocks that became durable, in order, and who has followed how far.
type News = Mutex<Vec<Arc<Vec<(u64, Block)>>>>;

/// The workers.
pub struct Workers {
    jobs: Option<SyncSender<(usize, Job)>>,
    verdicts: Receiver<(Job, Verdict)>,
    news: Arc<News>,
    threads: Vec<JoinHandle<Box<dyn Judge>>>,
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// A judge cannot be had.
    pub fn start(count: usize, check: &Check, volume: &Volume, base: Option<&Path>) -> anyhow::Result<Self> {
        let (jobs, waiting) = sync_channel(2 * count);
        let (told, verdicts) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let news = Arc::new(News::default());
        let mut threads = Vec::new();
        for _ in 0..count {
            let judge = check.judge(volume, base.map(Path::to_owned))?;
            let (waiting, told, news) = (Arc::clone(&waiting), told.clone(), Arc::clone(&news));
            threads.push(thread::spawn(move || work(judge, &waiting, &told, &news)));
        }
        Ok(Self { jobs: Some(jobs), verdicts, news, threads })
    }

    /// These blocks are durable before the next image.
    pub fn know(&self, news: Vec<(u64, Block)>) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(news));
    }

    /// Has an image judged, when somebody has time.
    pub fn judge(&self, job: Job) {
        let known = self.news.lock().unwrap_or_else(PoisonError::into_inner).len();
        if let Some(jobs) = &self.jobs {
            // Workers end when there is nobody to work for, and not before.
            let _ = jobs.send((known, job));
        }
    }

    /// What was judged since the last call.
    pub fn judged(&self) -> Judged {
        self.verdicts.try_iter().collect()
    }

    /// Waits for what was begun. Returns it, and a judge, for further questions.
    ///
    /// # Errors
    /// A worker did not finish: images were not judged.
    pub fn finish(mut self) -> anyhow::Result<(Judged, Box<dyn Judge>)> {
        self.jobs = None;
        let mut judge = None;
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            judge = Some(ended.map_err(|_| anyhow!("a thread that judges images panicked; see its message above"))?);
        }
        let judge = judge.ok_or_else(|| anyhow!("nobody judges images"))?;
        Ok((self.verdicts.try_iter().collect(), judge))
    }
}

/// Judges until there is nothing more to judge; returns the judge.
fn work(
    mut judge: Box<dyn Judge>,
    waiting: &Mutex<Receiver<(usize, Job)>>,
    told: &Sender<(Job, Verdict)>,
    news: &News,
) -> Box<dyn Judge> {
    let mut followed = 0;
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((known, job)) = next else { return judge };
        let behind: Vec<_> = {
            let news = news.lock().unwrap_or_else(PoisonError::into_inner);
            news[followed..known].to_vec()
        };
        followed = known;
        let followed_all = behind.iter().try_for_each(|blocks| judge.follow(blocks));
        let verdict = followed_all.and_then(|()| judge.judge(&job.image, &job.acks));
        let verdict = verdict.unwrap_or_else(|error| Verdict::Error(format!("{error:#}")));
        if told.send((job, verdict)).is_err() {
            return judge;
        }
    }
}
