using System.Globalization;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Reads <c>sampling_options</c> and its overlay in <c>extra_args</c> (llm.md, 2.2 and 2.5).</summary>
internal static class SamplingOptionsParser
{
    public static void Read(ref MessagePackReader reader, SamplingOptions options, bool isOverlay)
    {
        var prefix = isOverlay ? "extra_args.sampling_options." : "sampling_options.";
        for (
            var left = RequestValues.MapHeader(ref reader, isOverlay ? "extra_args.sampling_options" : "sampling_options");
            left > 0;
            left--
        )
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil() && !TryReadNumber(key, ref reader, options, prefix))
            {
                ReadRest(key, ref reader, options, prefix, isOverlay);
            }
        }
    }

    /// <summary>The options that OpenAI's own requests name likewise.</summary>
    /// <param name="key">Of the value, which is not null.</param>
    /// <param name="reader">Stands before the value; is left there if the key is another.</param>
    /// <param name="options">Takes the value.</param>
    /// <param name="prefix">Of the key in errors.</param>
    public static bool TryReadNumber(ReadOnlySpan<byte> key, ref MessagePackReader reader, SamplingOptions options, string prefix)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("n"u8):
                options.N = RequestValues.Int32(ref reader, prefix + "n");
                break;
            case var _ when key.SequenceEqual("temperature"u8):
                options.Temperature = RequestValues.FiniteDouble(ref reader, prefix + "temperature");
                break;
            case var _ when key.SequenceEqual("top_p"u8):
                options.TopP = RequestValues.FiniteDouble(ref reader, prefix + "top_p");
                break;
            case var _ when key.SequenceEqual("top_k"u8):
                options.TopK = RequestValues.Int32(ref reader, prefix + "top_k");
                break;
            case var _ when key.SequenceEqual("min_p"u8):
                options.MinP = RequestValues.FiniteDouble(ref reader, prefix + "min_p");
                break;
            case var _ when key.SequenceEqual("seed"u8):
                options.Seed = RequestValues.Int64(ref reader, prefix + "seed");
                break;
            case var _ when key.SequenceEqual("presence_penalty"u8):
                options.PresencePenalty = RequestValues.FiniteDouble(ref reader, prefix + "presence_penalty");
                break;
            case var _ when key.SequenceEqual("frequency_penalty"u8):
                options.FrequencyPenalty = RequestValues.FiniteDouble(ref reader, prefix + "frequency_penalty");
                break;
            case var _ when key.SequenceEqual("repetition_penalty"u8):
                options.RepetitionPenalty = RequestValues.FiniteDouble(ref reader, prefix + "repetition_penalty");
                break;
            default:
                return false;
        }

        return true;
    }

    private static void ReadRest(
        ReadOnlySpan<byte> key,
        ref MessagePackReader reader,
        SamplingOptions options,
        string prefix,
        bool isOverlay
    )
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("include_stop_str_in_output"u8):
                options.IncludeStopStrInOutput = RequestValues.Boolean(ref reader, prefix + "include_stop_str_in_output");
                break;
            case var _ when key.SequenceEqual("guided_decoding"u8) && !isOverlay:
                options.GuidedDecoding = ReadGuidedDecoding(ref reader);
                break;
            case var _ when key.SequenceEqual("logit_bias"u8):
                options.LogitBias = ReadLogitBias(ref reader, prefix + "logit_bias");
                break;
            case var _ when key.SequenceEqual("allowed_token_ids"u8):
                options.AllowedTokenIds = RequestValues.TokenIds(ref reader, prefix + "allowed_token_ids");
                break;
            case var _ when key.SequenceEqual("logprob_token_ids"u8):
                options.LogprobTokenIds = RequestValues.TokenIds(ref reader, prefix + "logprob_token_ids");
                break;
            case var _ when key.SequenceEqual("bad_words_token_ids"u8):
                options.BadWordsTokenIds = ReadBadWords(ref reader, prefix + "bad_words_token_ids");
                break;
            case var _ when key.SequenceEqual("skip_reading_prefix_cache"u8):
                options.SkipReadingPrefixCache = RequestValues.Boolean(ref reader, prefix + "skip_reading_prefix_cache");
                break;
            case var _ when key.SequenceEqual("routed_experts_prompt_start"u8):
                // Not a non-negative integer counts as 0, as in the reference.
                options.RoutedExpertsPromptStart =
                    reader.PeekType() == MessagePackType.Integer
                        ? (int)Math.Clamp(reader.ReadInt64(), 0, int.MaxValue)
                        : SkipAsZero(ref reader);
                break;
            default:
                reader.Skip();
                break;
        }
    }

    private static int SkipAsZero(ref MessagePackReader reader)
    {
        reader.Skip();
        return 0;
    }

    private static List<IReadOnlyList<int>> ReadBadWords(ref MessagePackReader reader, string field)
    {
        var count = RequestValues.ArrayHeader(ref reader, field);
        var words = new List<IReadOnlyList<int>>(count);
        for (var i = 0; i < count; i++)
        {
            var ids = RequestValues.TokenIds(ref reader, $"{field}[{i}]");
            words.Add(ids.Length > 0 ? ids : throw new ProtocolException($"{field}[{i}] is an empty list, must hold at least 1 token id"));
        }

        return words;
    }

    private static Dictionary<int, double> ReadLogitBias(ref MessagePackReader reader, string field)
    {
        var count = RequestValues.MapHeader(ref reader, field);
        var bias = new Dictionary<int, double>(count);
        for (; count > 0; count--)
        {
            int id;
            if (reader.PeekType() == MessagePackType.Integer)
            {
                id = RequestValues.Int32(ref reader, field);
            }
            else
            {
                // JSON keys are text; a JSON-typed peer means the number in it.
                var text = RequestValues.Text(ref reader, $"a key of {field}");
                if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out id))
                {
                    throw new ProtocolException($"{field} has a key that is not a token id");
                }
            }

            bias[id] = RequestValues.FiniteDouble(ref reader, $"{field}[{id}]");
        }

        return bias;
    }

    private static GuidedDecoding ReadGuidedDecoding(ref MessagePackReader reader)
    {
        var guided = new GuidedDecoding();
        for (var left = RequestValues.MapHeader(ref reader, "sampling_options.guided_decoding"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            switch (key)
            {
                case var _ when key.SequenceEqual("json"u8):
                    guided.JsonSchema = MessagePackJson.ReadAsJson(ref reader, "sampling_options.guided_decoding.json");
                    break;
                case var _ when key.SequenceEqual("regex"u8):
                    guided.Regex = ReadText(ref reader, "regex");
                    break;
                case var _ when key.SequenceEqual("grammar"u8):
                    guided.Grammar = ReadText(ref reader, "grammar");
                    break;
                case var _ when key.SequenceEqual("whitespace_pattern"u8):
                    guided.WhitespacePattern = ReadText(ref reader, "whitespace_pattern");
                    break;
                case var _ when key.SequenceEqual("structural_tag"u8):
                    guided.StructuralTag = MessagePackJson.ReadAsJson(ref reader, "sampling_options.guided_decoding.structural_tag");
                    break;
                case var _ when key.SequenceEqual("choice"u8):
                    guided.Choice = ReadChoice(ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return guided;
    }

    private static List<string> ReadChoice(ref MessagePackReader reader)
    {
        var count = RequestValues.ArrayHeader(ref reader, "sampling_options.guided_decoding.choice");
        var choice = new List<string>(count);
        for (; count > 0; count--)
        {
            choice.Add(ReadText(ref reader, "choice"));
        }

        return choice;
    }

    private static string ReadText(ref MessagePackReader reader, string field) =>
        RequestValues.Text(ref reader, $"sampling_options.guided_decoding.{field}");
}
