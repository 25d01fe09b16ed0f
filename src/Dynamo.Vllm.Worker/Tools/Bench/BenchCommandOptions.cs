using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Options of <c>bench</c> as they are written.</summary>
internal sealed class BenchCommandOptions
{
    /// <summary>Members of a body that options of their own set.</summary>
    private static readonly string[] OwnMembers =
    [
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "ignore_eos",
        "n",
    ];

    private readonly Option<string?> _baseUrl = Text("--base-url", "Server, as http://HOST:PORT; instead of --host and --port");
    private readonly Option<string> _host = With("--host", "Host of the server", "127.0.0.1");
    private readonly Option<int> _port = With("--port", "Port of the server", 8000);
    private readonly Option<string?> _backend = Text(
        "--backend",
        "openai (or vllm): completions; openai-chat: chats. Else the endpoint says it"
    );
    private readonly Option<string?> _endpoint = Text("--endpoint", "/v1/completions (the default) or /v1/chat/completions");
    private readonly Option<string?> _model = Text("--model", "Name of the model; else the first one that the server lists");
    private readonly Option<string?> _served = Text("--served-model-name", "The same; wins over --model");
    private readonly Option<string?> _tokenizer = Text(
        "--tokenizer",
        "Folder of the model on this host: prompts of completions are then token ids, and as long as asked for; else they are words"
    );
    private readonly Option<string> _dataset = With("--dataset-name", "random, the only one", "random");
    private readonly Option<int> _prompts = With("--num-prompts", "Requests of the run", 1000);
    private readonly Option<int> _warmups = With("--num-warmups", "Requests before it, which do not count", 0);
    private readonly Option<int?> _concurrency = new("--max-concurrency")
    {
        Description = "Requests under way at a time; else all that have come",
    };
    private readonly Option<string> _rate = With("--request-rate", "Requests a second, as a Poisson process; inf: all at once", "inf");
    private readonly Option<int> _seed = With("--seed", "Of prompts, lengths and arrivals: the same seed makes the same run", 0);
    private readonly Option<int> _input = With("--random-input-len", "Tokens of a prompt (words without --tokenizer)", 1024);
    private readonly Option<int> _output = With("--random-output-len", "Tokens to generate", 128);
    private readonly Option<int?> _inputShort = new("--input-len") { Description = "The same as --random-input-len" };
    private readonly Option<int?> _outputShort = new("--output-len") { Description = "The same as --random-output-len" };
    private readonly Option<double> _range = With("--random-range-ratio", "Lengths lie within this part of the mean on either side", 0.0);
    private readonly Option<int> _prefix = With("--random-prefix-len", "Tokens before each prompt that are the same in all of them", 0);
    private readonly Option<bool> _eos = new("--ignore-eos") { Description = "Always on, as there with random prompts" };
    private readonly Option<double?> _temperature = new("--temperature") { Description = "Of sampling; else the server's default" };
    private readonly Option<double?> _topP = new("--top-p") { Description = "Of sampling" };
    private readonly Option<int?> _topK = new("--top-k") { Description = "Of sampling" };
    private readonly Option<string?> _extra = Text("--extra-body", "JSON object whose members go into each request");
    private readonly Option<string[]> _headers = Many("--header", "KEY=VALUE: headers of each request");
    private readonly Option<string?> _prefixId = Text("--request-id-prefix", "Of x-request-id; else bench-, a random part and -");
    private readonly Option<string?> _metrics = Text("--percentile-metrics", "Of ttft, tpot, itl, e2el and others; default ttft,tpot,itl");
    private readonly Option<string> _percentiles = With("--metric-percentiles", "Separated by commas", "99");
    private readonly Option<string[]> _goodput = Many(
        "--goodput",
        "KEY:MILLISECONDS for ttft, tpot, e2el: requests within all of them are good"
    );
    private readonly Option<bool> _save = new("--save-result") { Description = "Write the result to a JSON file" };
    private readonly Option<bool> _detailed = new("--save-detailed") { Description = "With the times of each request" };
    private readonly Option<string?> _folder = Text("--result-dir", "Folder of that file");
    private readonly Option<string?> _file = Text("--result-filename", "Its name");
    private readonly Option<string?> _label = Text("--label", "Begin of its name, and a member of it");
    private readonly Option<string[]> _metadata = Many("--metadata", "KEY=VALUE: further members of it");
    private readonly Option<double> _timeout = With("--request-timeout-sec", "For one request, in seconds (fixed there)", 21_600.0);
    private readonly Option<double> _ready = With(
        "--ready-check-timeout-sec",
        "How long to wait for a server that does not answer yet",
        0.0
    );
    private readonly Option<bool> _quiet = new("--disable-tqdm") { Description = "No progress" };

    public IEnumerable<Option> All =>
        [
            _baseUrl,
            _host,
            _port,
            _backend,
            _endpoint,
            _model,
            _served,
            _tokenizer,
            _dataset,
            _prompts,
            _warmups,
            _concurrency,
            _rate,
            _seed,
            _input,
            _output,
            _inputShort,
            _outputShort,
            _range,
            _prefix,
            _eos,
            _temperature,
            _topP,
            _topK,
            _extra,
            _headers,
            _prefixId,
            _metrics,
            _percentiles,
            _goodput,
            _save,
            _detailed,
            _folder,
            _file,
            _label,
            _metadata,
            _timeout,
            _ready,
            _quiet,
        ];

    /// <exception cref="FormatException">A value cannot be used; the message names it and its limit.</exception>
    public BenchOptions Read(ParseResult result)
    {
        var endpoint = EndpointOf(result.GetValue(_backend), result.GetValue(_endpoint));
        var isChat = endpoint.EndsWith("/chat/completions", StringComparison.Ordinal);
        Require(result.GetValue(_dataset) == "random", $"--dataset-name {result.GetValue(_dataset)}: only random prompts are made here");
        var prompts = Within("--num-prompts", result.GetValue(_prompts), 1, BenchOptions.PromptsMax);
        var concurrency = result.GetValue(_concurrency);
        if (concurrency is { } most)
        {
            Within("--max-concurrency", most, 1, BenchOptions.ConcurrencyMax);
        }

        Require(
            concurrency is not null || prompts <= BenchOptions.ConcurrencyMax,
            $"--max-concurrency is needed for more than {BenchOptions.ConcurrencyMax} prompts: all of them may be under way at once"
        );
        var output = Within("--random-output-len", result.GetValue(_outputShort) ?? result.GetValue(_output), 1, BenchOptions.LengthMax);
        var range = result.GetValue(_range);
        Require(range is >= 0 and < 1, $"--random-range-ratio must be at least 0 and below 1, got {range}");
        Require(
            prompts * (double)output * (1 + range) <= BenchOptions.OutputTokensMax,
            $"--num-prompts times --random-output-len must be at most {BenchOptions.OutputTokensMax} tokens: their times are kept"
        );
        var tokenizer = result.GetValue(_tokenizer);
        return new BenchOptions
        {
            BaseUrl = UrlOf(result.GetValue(_baseUrl) ?? HostUrl(result.GetValue(_host)!, result.GetValue(_port))),
            Endpoint = endpoint,
            Model = result.GetValue(_served) ?? result.GetValue(_model),
            Prompts = prompts,
            Warmups = Within("--num-warmups", result.GetValue(_warmups), 0, BenchOptions.WarmupsMax),
            Concurrency = concurrency,
            Rate = RateOf(result.GetValue(_rate)!),
            Seed = result.GetValue(_seed),
            PrefixLength = Within("--random-prefix-len", result.GetValue(_prefix), 0, BenchOptions.LengthMax),
            InputLength = Within("--random-input-len", result.GetValue(_inputShort) ?? result.GetValue(_input), 1, BenchOptions.LengthMax),
            OutputLength = output,
            RangeRatio = range,
            Vocabulary = isChat || tokenizer is null ? null : Vocabulary.Read(tokenizer),
            ExtraBody = ExtraBodyOf(result),
            Headers = HeadersOf(result.GetValue(_headers)),
            RequestIdPrefix = result.GetValue(_prefixId) ?? $"bench-{Random.Shared.Next():x8}-",
            PercentileMetrics = MetricsOf(result.GetValue(_metrics) ?? "ttft,tpot,itl", concurrency is not null),
            Percentiles = PercentilesOf(result.GetValue(_percentiles)!),
            Goodput = GoodputOf(result.GetValue(_goodput)),
            RequestTimeout = Seconds("--request-timeout-sec", result.GetValue(_timeout), 0.001),
            ReadyTimeout = Seconds("--ready-check-timeout-sec", result.GetValue(_ready), 0),
            ShowsProgress = !result.GetValue(_quiet),
            File = FileOf(result),
        };
    }

    private BenchFileOptions? FileOf(ParseResult result)
    {
        var name = result.GetValue(_file);
        Require(
            result.GetValue(_save) || (name is null && result.GetValue(_folder) is null && !result.GetValue(_detailed)),
            "--result-dir, --result-filename and --save-detailed need --save-result"
        );
        return result.GetValue(_save)
            ? new BenchFileOptions(
                result.GetValue(_folder),
                name,
                result.GetValue(_label),
                PairsOf("--metadata", result.GetValue(_metadata), '='),
                result.GetValue(_detailed)
            )
            : null;
    }

    private Dictionary<string, string> ExtraBodyOf(ParseResult result)
    {
        var members = new Dictionary<string, string>();
        Add("temperature", result.GetValue(_temperature));
        Add("top_p", result.GetValue(_topP));
        Add("top_k", result.GetValue(_topK));
        if (result.GetValue(_extra) is { } text)
        {
            try
            {
                using var document = JsonDocument.Parse(text);
                Require(document.RootElement.ValueKind == JsonValueKind.Object, "--extra-body must be a JSON object");
                foreach (var member in document.RootElement.EnumerateObject())
                {
                    Require(!OwnMembers.Contains(member.Name), $"--extra-body: '{member.Name}' is set by options of bench");
                    members[member.Name] = member.Value.GetRawText();
                }
            }
            catch (JsonException exception)
            {
                throw new FormatException($"--extra-body is no JSON: {exception.Message}", exception);
            }
        }

        return members;

        void Add(string name, IFormattable? value)
        {
            if (value is not null)
            {
                members[name] = value.ToString(null, CultureInfo.InvariantCulture);
            }
        }
    }

    private static string EndpointOf(string? backend, string? endpoint)
    {
        Require(
            backend is null or "openai" or "vllm" or "openai-chat",
            $"--backend {backend}: only openai, vllm and openai-chat are spoken here"
        );
        var path = endpoint ?? (backend == "openai-chat" ? "/v1/chat/completions" : "/v1/completions");
        var isChat = path.EndsWith("/chat/completions", StringComparison.Ordinal);
        Require(
            path.StartsWith('/') && path.EndsWith("/completions", StringComparison.Ordinal),
            $"--endpoint must be a path that ends with /completions or /chat/completions, got '{path}'"
        );
        Require(backend is null || backend == "openai-chat" == isChat, $"--backend {backend} does not go with --endpoint {path}");
        return path;
    }

    private static string HostUrl(string host, int port) =>
        host.Contains(':', StringComparison.Ordinal) && !host.StartsWith('[')
            ? $"http://[{host}]:{Within("--port", port, 1, 65_535)}"
            : $"http://{host}:{Within("--port", port, 1, 65_535)}";

    private static Uri UrlOf(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is ("http" or "https") && url.UserInfo.Length == 0
            ? url
            : throw new FormatException($"'{text}' is no address of a server: http:// or https://, a host and a port");

    private static double RateOf(string text) =>
        text == "inf" ? double.PositiveInfinity
        : double.TryParse(text, CultureInfo.InvariantCulture, out var rate) && rate is >= 0.001 and <= 1_000_000 ? rate
        : throw new FormatException($"--request-rate must be a number from 0.001 to 1000000, or inf, got '{text}'");

    private static string[] MetricsOf(string text, bool hasQueue)
    {
        var metrics = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var unknown = metrics.FirstOrDefault(metric => !BenchOptions.Metrics.Contains(metric));
        Require(unknown is null, $"--percentile-metrics: '{unknown}' is none of {string.Join(", ", BenchOptions.Metrics)}");
        Require(
            hasQueue || !metrics.Any(metric => metric is BenchOptions.ClientQueueTime or BenchOptions.LatencyWithQueue),
            "--percentile-metrics: nothing waits in this client without --max-concurrency"
        );
        return metrics;
    }

    private static double[] PercentilesOf(string text) =>
        [
            .. text.Split(',', StringSplitOptions.TrimEntries)
                .Select(part =>
                    double.TryParse(part, CultureInfo.InvariantCulture, out var percent) && percent is >= 0 and <= 100
                        ? percent
                        : throw new FormatException($"--metric-percentiles must be numbers from 0 to 100, got '{part}'")
                ),
        ];

    private static Dictionary<string, double> GoodputOf(string[]? pairs) =>
        PairsOf("--goodput", pairs, ':')
            .ToDictionary(
                pair => pair.Key is "ttft" or "tpot" or "e2el" ? pair.Key : throw Bad(pair.Key),
                pair =>
                    double.TryParse(pair.Value, CultureInfo.InvariantCulture, out var limit) && limit >= 0 ? limit : throw Bad(pair.Value)
            );

    /// <summary>Those of a body are its own.</summary>
    private static Dictionary<string, string> HeadersOf(string[]? pairs)
    {
        var headers = PairsOf("--header", pairs, '=');
        var own = headers.Keys.FirstOrDefault(name => name.StartsWith("content-", StringComparison.OrdinalIgnoreCase));
        Require(own is null, $"--header: {own} is set by bench");
        return headers;
    }

    private static FormatException Bad(string part) =>
        new($"--goodput takes ttft, tpot or e2el with a number of milliseconds (ttft:500), got '{part}'");

    private static Dictionary<string, string> PairsOf(string option, string[]? pairs, char separator)
    {
        var found = new Dictionary<string, string>();
        foreach (var pair in pairs ?? [])
        {
            var at = pair.IndexOf(separator, StringComparison.Ordinal);
            Require(at > 0, $"{option} takes KEY{separator}VALUE, and one of its values has no '{separator}'"); // it may be a secret
            found[pair[..at].Trim()] = pair[(at + 1)..].Trim();
        }

        return found;
    }

    private static TimeSpan Seconds(string option, double seconds, double min)
    {
        Require(seconds >= min && seconds <= 604_800, $"{option} must be between {min} and 604800 seconds, got {seconds}");
        return TimeSpan.FromSeconds(seconds);
    }

    private static int Within(string option, int value, int min, int max)
    {
        Require(value >= min && value <= max, $"{option} must be between {min} and {max}, got {value}");
        return value;
    }

    private static void Require(bool condition, string problem)
    {
        if (!condition)
        {
            throw new FormatException(problem);
        }
    }

    private static Option<string?> Text(string name, string description) => new(name) { Description = description };

    private static Option<T> With<T>(string name, string description, T value) =>
        new(name) { Description = description, DefaultValueFactory = _ => value };

    private static Option<string[]> Many(string name, string description) =>
        new(name) { Description = description, AllowMultipleArgumentsPerToken = true };
}
