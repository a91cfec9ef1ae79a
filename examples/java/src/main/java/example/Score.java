// Scores rows with an exported model: the graph runs in ONNX Runtime, its map says where each column goes.
// Build it with `mvn package`, then `java -jar target/score.jar MAP.json ROWS.json`; see docs/guides/export.md.

package example;

import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** {@code Score MAP.json ROWS.json} prints one JSON object with the model's answers for each row. */
public final class Score {
  private Score() {}

  public static void main(String[] arguments) throws IOException, OrtException {
    if (arguments.length != 2) {
      System.err.println("usage: Score MAP.json ROWS.json (an array of objects)");
      System.exit(1);
    }
    Path mapFile = Path.of(arguments[0]);
    JsonObject map = JsonParser.parseString(Files.readString(mapFile)).getAsJsonObject();
    JsonArray rows = JsonParser.parseString(Files.readString(Path.of(arguments[1]))).getAsJsonArray();
    Path graph = mapFile.resolveSibling(map.get("graph").getAsString());
    Gson gson = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    for (JsonObject answer : score(graph, map, rows)) {
      System.out.println(gson.toJson(answer));
    }
  }

  /** The answers for some rows, one object a row. */
  static List<JsonObject> score(Path graph, JsonObject map, JsonArray rows) throws OrtException {
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    Map<String, OnnxTensor> inputs = new HashMap<>();
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      // With one thread the sums of trees do not depend on the number of rows.
      options.setIntraOpNumThreads(1);
      try (OrtSession session = environment.createSession(graph.toString(), options)) {
        for (JsonElement input : map.getAsJsonArray("inputs")) {
          JsonObject described = input.getAsJsonObject();
          inputs.put(described.get("name").getAsString(), tensor(environment, described, rows));
        }
        try (OrtSession.Result result = session.run(inputs)) {
          return answers(map.getAsJsonArray("outputs"), result, rows.size());
        }
      }
    } finally {
      inputs.values().forEach(OnnxTensor::close);
    }
  }

  private static List<JsonObject> answers(JsonArray outputs, OrtSession.Result result, int rows) throws OrtException {
    List<JsonObject> answers = new ArrayList<>();
    for (int row = 0; row < rows; row++) {
      answers.add(new JsonObject());
    }
    for (JsonElement output : outputs) {
      JsonObject described = output.getAsJsonObject();
      Object values = result.get(described.get("graph_output").getAsString()).orElseThrow().getValue();
      for (int row = 0; row < rows; row++) {
        answers.get(row).add(described.get("name").getAsString(), json(Array.get(values, row), described.has("size")));
      }
    }
    return answers;
  }

  /** One row of an output; what is one value a row may come as a list of one. */
  private static JsonElement json(Object value, boolean list) {
    if (value.getClass().isArray()) {
      JsonArray array = new JsonArray();
      for (int place = 0; place < Array.getLength(value); place++) {
        array.add(json(Array.get(value, place), false));
      }
      return list ? array : array.get(0);
    }
    if (value instanceof Double number && !Double.isFinite(number)) {
      return JsonNull.INSTANCE;
    }
    if (value instanceof Float number && !Float.isFinite(number)) {
      return JsonNull.INSTANCE;
    }
    return new Gson().toJsonTree(value);
  }

  /** One input of the graph for all rows: several columns side by side, a tensor, or whether a column has a value. */
  private static OnnxTensor tensor(OrtEnvironment environment, JsonObject input, JsonArray rows) throws OrtException {
    List<JsonElement> cells = new ArrayList<>();
    List<JsonObject> columns = new ArrayList<>();
    for (JsonElement row : rows) {
      if (input.has("valid")) {
        columns.add(null);
        cells.add(row.getAsJsonObject().get(input.get("valid").getAsString()));
        continue;
      }
      for (JsonElement column : input.getAsJsonArray("columns")) {
        JsonObject described = column.getAsJsonObject();
        flatten(row.getAsJsonObject().get(described.get("name").getAsString()), described, cells, columns);
      }
    }
    long[] shape = shape(rows.size(), input.getAsJsonArray("shape"));
    String type = input.get("type").getAsString();
    if (type.equals("string")) {
      String[] text = cells.stream().map(cell -> absent(cell) ? "" : cell.getAsString()).toArray(String[]::new);
      return OnnxTensor.createTensor(environment, text, shape);
    }
    ByteBuffer buffer = ByteBuffer.allocateDirect(Math.max(cells.size() * 8, 1)).order(ByteOrder.nativeOrder());
    for (int place = 0; place < cells.size(); place++) {
      put(buffer, type, cells.get(place), columns.get(place));
    }
    buffer.flip();
    return OnnxTensor.createTensor(environment, buffer, shape, javaType(type));
  }

  /** The elements of a tensor column in their order; any other value is one element. */
  private static void flatten(JsonElement cell, JsonObject column, List<JsonElement> cells, List<JsonObject> columns) {
    if (cell != null && cell.isJsonArray()) {
      for (JsonElement element : cell.getAsJsonArray()) {
        flatten(element, column, cells, columns);
      }
      return;
    }
    cells.add(cell);
    columns.add(column);
  }

  private static long[] shape(int rows, JsonArray rest) {
    long[] shape = new long[rest.size() + 1];
    shape[0] = rows;
    for (int place = 0; place < rest.size(); place++) {
      shape[place + 1] = rest.get(place).getAsLong();
    }
    return shape;
  }

  private static boolean absent(JsonElement cell) {
    return cell == null || cell.isJsonNull();
  }

  private static void put(ByteBuffer buffer, String type, JsonElement cell, JsonObject column) {
    if (column == null) {
      buffer.put((byte) (absent(cell) ? 0 : 1));
      return;
    }
    if (absent(cell) && !column.get("nullable").getAsBoolean()) {
      throw new IllegalArgumentException("column " + column.get("name").getAsString() + " may not be null");
    }
    switch (type) {
      case "float64" -> buffer.putDouble(absent(cell) ? Double.NaN : number(cell));
      case "float32" -> buffer.putFloat(absent(cell) ? Float.NaN : (float) number(cell));
      case "bool" -> buffer.put((byte) (!absent(cell) && cell.getAsBoolean() ? 1 : 0));
      case "int8", "uint8" -> buffer.put((byte) cell.getAsLong());
      case "int16", "uint16" -> buffer.putShort((short) cell.getAsLong());
      case "int32", "uint32" -> buffer.putInt((int) cell.getAsLong());
      case "int64", "uint64" -> buffer.putLong(absent(cell) ? 0 : whole(cell, column));
      default -> throw new IllegalArgumentException("an input of type " + type);
    }
  }

  /** A number; a nullable bool is one too, 0 or 1. */
  private static double number(JsonElement cell) {
    boolean truth = cell.getAsJsonPrimitive().isBoolean();
    return truth ? (cell.getAsBoolean() ? 1 : 0) : cell.getAsDouble();
  }

  /** A whole number, or a date or time as the number that the map's unit says. */
  private static long whole(JsonElement cell, JsonObject column) {
    if (!cell.getAsJsonPrimitive().isString()) {
      return cell.getAsLong();
    }
    if (column.get("type").getAsString().equals("date32")) {
      return LocalDate.parse(cell.getAsString()).toEpochDay();
    }
    Instant time = column.has("zone")
        ? OffsetDateTime.parse(cell.getAsString()).toInstant()
        : LocalDateTime.parse(cell.getAsString()).toInstant(ZoneOffset.UTC);
    return ChronoUnit.MICROS.between(Instant.EPOCH, time);
  }

  private static OnnxJavaType javaType(String type) {
    return switch (type) {
      case "float64" -> OnnxJavaType.DOUBLE;
      case "float32" -> OnnxJavaType.FLOAT;
      case "bool" -> OnnxJavaType.BOOL;
      case "int8" -> OnnxJavaType.INT8;
      case "uint8" -> OnnxJavaType.UINT8;
      case "int16" -> OnnxJavaType.INT16;
      case "int32" -> OnnxJavaType.INT32;
      case "int64" -> OnnxJavaType.INT64;
      default -> throw new IllegalArgumentException("this runtime's Java binding has no tensors of " + type);
    };
  }
}
